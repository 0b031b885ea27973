"""Which of many names was meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The most similar of the names, of a hundred thousand within milliseconds; None if none is similar."""
    from difflib import get_close_matches

    wanted = _trigrams(name)
    scored = ((len(wanted & _trigrams(one)), one) for one in names if abs(len(one) - len(name)) <= 6)
    likely = sorted((pair for pair in scored if pair[0] > 1), reverse=True)[:200]
    close = get_close_matches(name, [one for _, one in likely], 1)
    return close[0] if close else None


def hint(name: str, names: Iterable[str]) -> str:
    """What to try instead of a name that is not there."""
    near = nearest(name, names)
    return f"did you mean {near!r}?" if near else ""


def _trigrams(name: str) -> set[str]:
    padded = f"  {name} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}

"""Names of kinds and levels, as people and other tools write them."""

from __future__ import annotations

from wbpf.records.layout import Kind, Level

_KINDS = {kind.value: kind.name.lower() for kind in Kind}
_WITH_SEVERITY = frozenset((Kind.EVENT, Kind.LOG, Kind.METRIC, Kind.SPAN_BEGIN, Kind.ATTRIBUTES))
_LEVELS = range(Level.TRACE, Level.TRACE + 24)


def kind_name(kind: int) -> str:
    """`event`; `kind-77` if a later minor version of the format has added it."""
    return _KINDS.get(kind, f"kind-{kind}")


def level_name(level: int) -> str:
    """OpenTelemetry's short name of a severity: `INFO`, `INFO2`; empty if it has none."""
    if level not in _LEVELS:
        return ""
    base = Level(level - (level - 1) % 4)
    step = level - base
    return f"{base.name}{step + 1}" if step else base.name


def severity(kind: int, level: int) -> str:
    """The name of a record's level; empty for kinds that are written whatever the threshold is."""
    return level_name(level) if kind in _WITH_SEVERITY else ""

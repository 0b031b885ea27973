"""Flags of `wbpf run`: a command whose flags come partly from a file, and which has to start fast.

Typer takes longer to import than a module takes to attach its programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.wasm.params import Param


class Flag(NamedTuple):
    """A flag.

    Args:
        metavar: of its value; "" for one without, which has `--no-NAME` too.
        short: one letter, or "".
    """

    name: str
    metavar: str
    help: str
    short: str = ""


class Parsed(NamedTuple):
    """What was given: values of flags by name, words before `--`, and those behind it."""

    values: dict[str, str]
    words: list[str]
    rest: list[str]


def flag_of(param: Param) -> Flag:
    """The flag of a module's parameter."""
    default = param.default
    words = param.help
    if default is not None and not isinstance(default, bool):
        words = f"{words} [{param.text(default)}]".strip()
    elif default is None:
        words = f"{words} [must be given]".strip()
    if param.type == "bool":
        return Flag(param.name, "", f"{words} [on]".strip() if default else words)
    metavar = "|".join(choice.name for choice in param.choices) or param.type.upper()
    return Flag(param.name, metavar, words)


def parse(
    arguments: Sequence[str], flags: Mapping[str, Flag], lists: str = "wbpf run MODULE --help"
) -> Parsed:
    """Read `--name VALUE`, `--name=VALUE`, `--switch`, `--no-switch`, `-n VALUE` and words.

    Args:
        arguments: as they were given.
        flags: that there are.
        lists: the command that lists them, for messages.

    Raises:
        ConfigError: there is no such flag, or its value is missing.
    """
    values: dict[str, str] = {}
    words: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            return Parsed(values, words, list(left))
        if not argument.startswith("-") or argument == "-":
            words.append(argument)
            continue
        name, equals, value = argument.partition("=")
        flag, is_on = _find(name, flags, lists)
        if not flag.metavar:
            values[flag.name] = value if equals else "true" if is_on else "false"
        else:
            values[flag.name] = value if equals else _next(left, name, flag)
    return Parsed(values, words, [])


def split(arguments: Sequence[str], flags: Mapping[str, Flag]) -> int:
    """Where the first word is among arguments that begin with known flags; -1: there is none."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "-":
        name, equals, _ = arguments[at].partition("=")
        try:
            flag, _ = _find(name, flags, "")
        except ConfigError:  # one of the file's, which comes after it
            return next((i for i, word in enumerate(arguments) if not word.startswith("-")), -1)
        at += 2 if flag.metavar and not equals else 1
    return at if at < len(arguments) else -1


def usage(head: str, groups: Mapping[str, Sequence[Flag]]) -> str:
    """Help as plain text."""
    lines = [head]
    for title, flags in groups.items():
        if not flags:
            continue
        lines += ["", f"{title}:"]
        names = [
            f"{f'-{flag.short}, ' if flag.short else '    '}--{flag.name} {flag.metavar}".rstrip()
            for flag in flags
        ]
        width = min(max(map(len, names)), 30)
        for name, flag in zip(names, flags, strict=True):
            lines.append(f"  {name:{width}}  {flag.help}".rstrip())
    return "\n".join(lines)


def _find(name: str, flags: Mapping[str, Flag], lists: str) -> tuple[Flag, bool]:
    plain = name.lstrip("-")
    if name.startswith("--"):
        if plain in flags:
            return flags[plain], True
        negated = plain.removeprefix("no-")
        if negated in flags and not flags[negated].metavar:
            return flags[negated], False
    for flag in flags.values():
        if flag.short and name == f"-{flag.short}":
            return flag, True
    from difflib import get_close_matches

    near = get_close_matches(plain, list(flags), 1)
    hint = f"{lists} lists them"
    raise ConfigError(f"there is no flag {name}", f"did you mean --{near[0]}?" if near else "", hint)


def _next(left: Iterator[str], name: str, flag: Flag) -> str:
    value = next(left, None)
    if value is None:
        raise ConfigError(f"{name} has no value", "", f"give it {flag.metavar}")
    return value


def checks_of(values: Mapping[str, str], backend: str) -> bool:
    """Whether `--checks` is given. Raises ConfigError: the kernel has no such thing."""
    wanted = values.get("checks") == "true"
    if wanted and backend == "kernel":
        raise ConfigError("--checks can't be used", "the kernel runs proved programs alone", "--backend user")
    return wanted

"""Expressions of `--filter`: CEL (https://cel.dev) over the fields of an event, and their mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from wbpf.errors import ConfigError
from wbpf.wasm.manifest import EventType

_MOST = 2**63 - 1
_FOUND = re.compile(r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?:Syntax error: )?(?P<text>.*)")
#: What others write for an operator.
_MEANT = {"=": "==", "&": "&&", "|": "||", "and": "&&", "or": "||", "not": "!", "<>": "!=", "is": "=="}


def compile_filter(text: str, kind: EventType) -> Callable[[dict[str, Any]], bool]:
    """A function that tells for an event's fields whether the expression is true.

    Raises:
        ConfigError: the expression can't be used; the error says where it is wrong.
    """
    try:
        from cel_expr_python import cel
    except ImportError as error:
        raise ConfigError("events can't be filtered", str(error), "pip install 'wbpf[wasm]'") from None
    types = {
        **dict.fromkeys(("char[]", "bytes", "mac", "ip4", "ip6"), cel.Type.STRING),
        **dict.fromkeys(("array", "log2_histogram"), cel.Type.List(cel.Type.INT)),
        "bool": cel.Type.BOOL,
        "float": cel.Type.DOUBLE,
        "enum": cel.Type.DYN,
    }
    variables = {field.name: types.get(field.kind, cel.Type.INT) for field in kind.fields}
    what = f"--filter {text!r} can't be used for {kind.name!r}"
    try:
        expression = cel.NewEnv(variables=variables).compile(text)
    except RuntimeError as error:
        why, hint = explain(text, str(error), list(variables))
        raise ConfigError(what, why, hint) from None
    if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        raise ConfigError(what, "it is not true or false", "compare something: pid == 1")

    def passes(values: dict[str, Any]) -> bool:
        data = {
            name: min(value, _MOST) if isinstance(value, int) else value for name, value in values.items()
        }
        return expression.eval(data=data).value() is True

    return passes


def explain(text: str, message: str, fields: list[str]) -> tuple[str, str]:
    """What is wrong with an expression and where, and what to try, by the compiler's message.

    Args:
        text: the expression.
        message: of cel-cpp: `ERROR: <input>:LINE:COLUMN: …`, from which the first error counts.
        fields: of the event.
    """
    found = _FOUND.search(message)
    if found is None:
        return message.removeprefix("INVALID_ARGUMENT: ").partition("\n")[0], ""
    line, column = int(found["line"]), int(found["column"])
    rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
    why, hint = _explain(found["text"].removesuffix(" [INVALID_ARGUMENT]"), rest, fields)
    place = f"at character {column}" + (f" of line {line}" if "\n" in text else "")
    return f"{place}, {why}", hint


def _explain(said: str, rest: str, fields: list[str]) -> tuple[str, str]:
    if match := re.match(r"(?:mismatched input|missing '(.)' at) '<EOF>'(?: expecting \{'([])])',)?", said):
        missing = match[1] or match[2]
        return ("it ends too early", f"add {missing!r}" if missing else "write what is to come there")
    if match := re.match(r"token recognition error at: '(.*)'$", said):
        sign = match[1].strip()
        if sign[:1] in ("'", '"'):
            return f"the text {sign} does not end, or has a backslash that means nothing", "check its quotes"
        return _unexpected(sign)
    if match := re.match(r"missing '(.)' at '(.*)'", said):
        return f"{match[1]!r} is missing before {match[2]!r}", f"add {match[1]!r}"
    if match := re.match(r"(?:extraneous|mismatched) input '(.*)' expecting", said):
        return _unexpected(match[1])
    if match := re.match(r"reserved identifier: (.*)", said):
        return f"{match[1]!r} is a word of CEL's own", ""
    if match := re.match(r"undeclared reference to '(.*?)'", said):
        if rest.startswith("("):
            return f"there is no function {match[1]!r}", "use size, contains, startsWith, endsWith or matches"
        near = get_close_matches(match[1], fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"use the fields {', '.join(fields)}"
        return f"there is no field {match[1]!r}", hint
    if match := re.match(r"found no matching overload for '(.*)' applied to '\((.*)\)'", said):
        name, given = match[1], match[2]
        if name.replace("_", "").isalpha():
            return f"{name}() does not take ({given})", ""
        sides = given.split(", ")
        hint = "write the number with a point: 1.0" if {*sides} == {"double", "int"} else ""
        hint = "leave out the quotes" if {*sides} == {"int", "string"} else hint
        return f"{name.strip('_').replace('_', ' ')} does not take {' and '.join(sides)}", hint
    if match := re.match(r"expression of type '(.*)' cannot be the operand of a select", said):
        return f"'.' follows something of type {match[1]}, which has no fields", ""
    return said, ""


def _unexpected(sign: str) -> tuple[str, str]:
    meant = _MEANT.get(sign)
    return f"{sign!r} is not expected", f"write {meant}" if meant else ""

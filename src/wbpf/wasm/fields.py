"""JSON to and from frozen dataclasses, checked against their annotations."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_MOST = 2**64


def from_json(cls: type[T], value: Any, where: str = "", *, known_only: bool = False) -> T:
    """The object that a JSON value describes.

    Args:
        cls: a dataclass.
        value: of json or tomllib.
        where: its path, for messages.
        known_only: refuse fields that the class has not, instead of passing over them.

    Raises:
        ValueError: a field is missing or has another type; the text begins with its path.
    """
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    given: dict[str, Any] = {}
    described: Any = cls
    known = _fields(described)
    if known_only and (unknown := next((name for name in value if name not in known), None)):
        near = difflib.get_close_matches(unknown, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"{_path(where, unknown)}: is not known; {hint}")
    for name, (kind, needed) in known.items():
        path = _path(where, name)
        if name in value:
            given[name] = _decoded(kind, value[name], path, known_only)
        elif needed:
            raise ValueError(f"{path}: is missing")
    return cls(**given)


def to_json(value: Any) -> Any:
    """The JSON value that describes an object; fields with their default are left out."""
    if is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in fields(value)
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@cache
def _fields(cls: Any) -> Mapping[str, tuple[Any, bool]]:
    hints = get_type_hints(cls)
    assert is_dataclass(cls)
    return {field.name: (hints[field.name], _default(field) is MISSING) for field in fields(cls)}


def _decoded(kind: Any, value: Any, where: str, known_only: bool) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _of_union(arguments, value, where, known_only)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: must be one of {', '.join(arguments)}, not {_shown(value)}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where, known_only)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        return {
            _scalar(str, name, where): _decoded(arguments[1], item, _path(where, name), known_only)
            for name, item in value.items()
        }
    if is_dataclass(kind) and isinstance(kind, type):
        return from_json(kind, value, where, known_only=known_only)
    return _scalar(kind, value, where)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _tuple(arguments: tuple[Any, ...], value: Any, where: str, known_only: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    if arguments[-1] is Ellipsis:
        return tuple(
            _decoded(arguments[0], item, f"{where}[{at}]", known_only) for at, item in enumerate(value)
        )
    if len(value) != len(arguments):
        raise ValueError(f"{where}: must have {len(arguments)} items, not {len(value)}")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_decoded(kind, item, f"{where}[{at}]", known_only) for at, (kind, item) in pairs)


def _of_union(kinds: tuple[Any, ...], value: Any, where: str, known_only: bool) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return _decoded(kind, value, where, known_only)
            except ValueError as error:
                errors.append(error)
    raise errors[-1]


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and type(value) is int and abs(value) < _MOST:
        return float(value)
    if type(value) is not kind:  # a bool is an int, but not here
        names = {str: "a text", int: "a whole number", bool: "true or false", float: "a number"}
        raise _wrong(where, names.get(kind, "nothing"), value)
    if isinstance(value, int) and not -_MOST < value < _MOST:
        raise ValueError(f"{where}: has more than 64 bits")
    if isinstance(value, str) and not all(letter.isprintable() or letter == "\n" for letter in value):
        raise ValueError(f"{where}: has letters that can't be shown")
    return value


def _wrong(where: str, wanted: str, value: Any) -> ValueError:
    return ValueError(f"{where or 'it'}: must be {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = ascii(value)
    return text if len(text) < 40 else text[:36] + "…"

"""Parameters of a module: their types, their values as text and as bytes of a global variable."""

from __future__ import annotations

import difflib
import re
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from wbpf.errors import ConfigError

ParamType: TypeAlias = Literal["bool", "int", "uint", "float", "string", "duration", "enum"]
#: A duration is an int, in nanoseconds.
Value: TypeAlias = bool | int | float | str

_DURATION_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)")
_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True)
class Choice:
    """A value of an `enum` parameter, and the programs that are loaded only with it."""

    name: str
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Param:
    """A parameter.

    Args:
        name: of its flag: `min-us` for `--min-us`.
        default: a value of its type (a duration as text, `"10ms"`); None: it has to be given.
        variable: of `.rodata`, set before loading; None: the control program alone asks for it.
        programs: loaded only if the value is true, not zero, not empty.
        choices: of an enum; the variable gets the choice's index.
    """

    name: str
    type: ParamType
    default: Value | None = None
    help: str = ""
    variable: str | None = None
    programs: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()

    def parse(self, text: str) -> Value:
        """The value that a text stands for.

        Raises:
            ConfigError: it stands for none.
        """
        try:
            return self._parse(text)
        except ValueError as error:
            near = difflib.get_close_matches(text, [choice.name for choice in self.choices], 1)
            hint = f"did you mean {near[0]!r}?" if near else self.example()
            raise ConfigError(f"--{self.name}={text!r} can't be used", str(error), hint) from None

    def value_of(self, given: Value) -> Value:
        """The value that a program gives: text as on the command line, or what `parse` returns.

        Raises:
            ConfigError: it is of another type, or stands for no value.
        """
        return self.parse(given if isinstance(given, str) else self.text(given))

    def value_of_default(self) -> Value | None:
        """The default as `parse` returns values."""
        if self.type == "duration" and isinstance(self.default, str):
            return self.parse(self.default)
        return self.default

    def text(self, value: Value) -> str:
        """A value as text that `parse` reads."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.type == "duration" and isinstance(value, int):
            unit = next(
                (
                    unit
                    for unit in ("h", "m", "s", "ms", "us")
                    if value and value % _DURATION_UNITS[unit] == 0
                ),
                "ns",
            )
            return f"{value // _DURATION_UNITS[unit]}{unit}"
        return str(value)

    def pack(self, value: Value, size: int) -> bytes:
        """The value as a global variable of `size` bytes.

        Raises:
            ConfigError: it does not fit in there.
        """
        number: int | float
        if self.type == "string":
            content = str(value).encode()
            if len(content) >= size:
                raise self._too_large(value, size, f"{len(content)} bytes and a NUL")
            return content.ljust(size, b"\0")
        if self.type == "float" and size in (4, 8):
            return struct.pack("<f" if size == 4 else "<d", value)
        number = (
            [choice.name for choice in self.choices].index(str(value)) if self.type == "enum" else int(value)
        )
        try:
            return number.to_bytes(size, "little", signed=self.type == "int")
        except OverflowError:
            raise self._too_large(value, size, f"the number {number}") from None

    def unwanted_programs(self, value: Value) -> tuple[str, ...]:
        """The programs that are not loaded with this value."""
        others = [choice.programs for choice in self.choices if choice.name != value]
        wanted = {name for choice in self.choices if choice.name == value for name in choice.programs}
        names = (() if value else self.programs) + tuple(name for group in others for name in group)
        return tuple(dict.fromkeys(name for name in names if name not in wanted))

    def example(self) -> str:
        """How to give it, for hints."""
        values = {
            "bool": "true",
            "int": "-5",
            "uint": "5",
            "float": "0.5",
            "string": "TEXT",
            "duration": "10ms",
        }
        return f"--{self.name}={'|'.join(c.name for c in self.choices) or values.get(self.type, '')}"

    def _parse(self, text: str) -> Value:
        match self.type:
            case "bool":
                if text.lower() not in _BOOLS:
                    raise ValueError("it must be true or false")
                return _BOOLS[text.lower()]
            case "int" | "uint":
                if not re.fullmatch(r"-?(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})", text):
                    raise ValueError("it must be a whole number")
                number = int(text, 16 if "x" in text else 10)
                low, high = (0, 2**64) if self.type == "uint" else (-(2**63), 2**63)
                if not low <= number < high:
                    raise ValueError(f"it must be at least {low} and less than {high}")
                return number
            case "float":
                if not re.fullmatch(r"-?\d+(\.\d*)?([eE][-+]?\d{1,3})?", text):
                    raise ValueError("it must be a number")
                return float(text)
            case "duration":
                return _parse_duration(text)
            case "enum":
                if text not in [choice.name for choice in self.choices]:
                    raise ValueError("it must be one of " + ", ".join(choice.name for choice in self.choices))
                return text
            case _:
                return text

    def _too_large(self, value: Value, size: int, what: str) -> ConfigError:
        why = f"variable {self.variable!r} has {size} bytes, too few for {what}"
        return ConfigError(f"--{self.name}={self.text(value)!r} can't be used", why)


def _parse_duration(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("it must be a number with a unit: ns, us, ms, s, m or h")
    total = round(sum(Decimal(number) * _DURATION_UNITS[unit] for number, unit in parts))
    if total >= 2**63:
        raise ValueError("it is too long")
    return total

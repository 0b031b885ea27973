"""`@traced`: a function as a span."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from wbpf._native import span_or_trace
from wbpf.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


@overload
def traced(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def traced(name: str, /) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def traced(what: Any, /) -> Any:
    """Make each call of a function a span, or a trace if there is no current one. Also for `async def`.

    Args:
        what: the function, or the span's name; else that is the function's qualified name.

    Raises:
        ConfigError: what is decorated is a generator, a class, or not callable.
    """
    if isinstance(what, str):
        return lambda function: _wrap(function, what)
    return _wrap(what, getattr(what, "__qualname__", type(what).__qualname__))


def _wrap(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    import inspect  # takes longer than all the rest; only needed by those who decorate

    what = f"{name} can't be traced"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        hint = "use `with wbpf.span(...)` inside it, around the work between two yields"
        raise ConfigError(what, "it is a generator: what its caller does would be in its span", hint)
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigError(what, f"it is a {type(function).__name__}", "put @traced below that decorator")
    if isinstance(function, type) or not callable(function):
        raise ConfigError(what, f"it is a {type(function).__name__}", "decorate functions and methods")

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with span_or_trace(name):
                return await function(*args, **kwargs)

        return awaited

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with span_or_trace(name):
            return function(*args, **kwargs)

    return called

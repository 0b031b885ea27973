from __future__ import annotations

import inspect
import pickle

from wbpf import errors
from wbpf.errors import ConfigError, ObjectNotFound, PoolError, WbpfError


def test_text_says_what_why_and_what_to_try() -> None:
    error = WbpfError(
        "ring 'events' can't be made", "needs kernel >= 5.8, this is 5.4", "build with --perf-fallback"
    )
    assert str(error) == (
        "ring 'events' can't be made: needs kernel >= 5.8, this is 5.4\n  try: build with --perf-fallback"
    )
    assert str(WbpfError("it broke")) == "it broke"
    assert str(WbpfError("it broke", hint="mend it")) == "it broke\n  try: mend it"


def test_errors_cross_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(ObjectNotFound("no object 'a'", "it was deleted", "create it")))
    assert type(error) is ObjectNotFound
    assert (error.what, error.why, error.hint) == ("no object 'a'", "it was deleted", "create it")


def test_exit_statuses() -> None:
    classes = [
        item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, WbpfError)
    ]
    assert {item.__name__ for item in classes} == set(errors.__all__)
    families = [item for item in classes if "exit_code" in vars(item)]
    assert len({item.exit_code for item in families}) == len(families), "each family has a status of its own"
    assert ConfigError.exit_code == 2, "the status that command-line parsers use for a wrong call"
    assert ObjectNotFound.exit_code == PoolError.exit_code

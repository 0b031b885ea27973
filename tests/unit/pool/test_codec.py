from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.pool import IntegrityError, MissingExtraError, Pool, PoolHost, VerifyResult, faults

json_like: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(json_like)
def test_objects_come_back(a: PoolHost, b: PoolHost, value: Any) -> None:
    a.put("value", value)
    assert b.load("value") == value
    assert a.delete("value")


def inside(host: PoolHost, id: str, address: int) -> bool:
    with host.get(id) as view:
        return view.address <= address < view.address + len(view)


def test_arrays_are_loaded_in_place(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    table = {"delay": np.arange(5000.0), "carrier": np.array(["AA", "UA"]), "small": [1, 2]}
    a.put("table", table, tags=("demo",))
    loaded = b.load("table")
    assert loaded["small"] == [1, 2]
    for name in ("delay", "carrier"):
        assert (loaded[name] == table[name]).all()
        assert inside(b, "table", loaded[name].ctypes.data) and not loaded[name].flags.writeable
        assert loaded[name].ctypes.data % 64 == 0
    assert pool.stats().references == 1  # the view lives on in the arrays
    assert a.delete("table") is False
    del loaded
    assert pool.stats().used_bytes == 0


def test_arrow_tables_are_loaded_in_place(a: PoolHost, b: PoolHost) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow: not installed")
    table = pa.table({"n": np.arange(1000), "name": [f"x{i}" for i in range(1000)]})
    a.put("table", table)
    loaded = b.load("table")
    assert loaded.equals(table)
    for column in loaded.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                assert buffer is None or inside(b, "table", buffer.address)
    a.put("batch", table.to_batches()[0])
    assert b.load("batch").equals(table)


def test_arrow_without_pyarrow_says_what_is_missing(
    a: PoolHost, b: PoolHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow: not installed")
    a.put("table", pa.table({"n": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wbpf\[arrow\]'"):
        b.load("table")


@pytest.mark.parametrize(
    "content", [b"", b"12345678" * 20, bytes.fromhex("574f424a01000000ffff000000000000")]
)
def test_what_put_did_not_write_can_t_be_loaded(a: PoolHost, content: bytes) -> None:
    with a.create("x", len(content)) as buffer:
        buffer[:] = content
    with pytest.raises(FormatError):
        a.load("x")


def test_old_bytes_are_not_unpickled(a: PoolHost, b: PoolHost) -> None:
    a.put("old", np.ones(100))
    b.load("old")
    a.delete("old")
    a.put("new", np.zeros(100))
    faults.arm_skip_invalidate(b, "new")
    with pytest.raises(IntegrityError, match="generation mismatch") as caught:
        b.load("new")
    assert caught.value.result is VerifyResult.GENERATION_MISMATCH
    assert caught.value.seen is not None
    assert (b.load("new") == 0).all()

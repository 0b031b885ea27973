from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.wasm import manifest as m
from wbpf.wasm.params import Choice, Param

names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
texts = st.text("abc Ω→\n", max_size=20)
numbers = st.integers(0, 2**64 - 1)
kernels = st.none() | st.builds(m.Kernel, names, texts)


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=3, unique_by=lambda item: getattr(item, "name", item)).map(tuple)


params = st.one_of(
    st.builds(
        Param, names, st.just("bool"), st.none() | st.booleans(), texts, st.none() | names, several(names)
    ),
    st.builds(Param, names, st.just("int"), st.none() | st.integers(-(2**63), 2**63 - 1), texts),
    st.builds(Param, names, st.just("uint"), st.none() | numbers, texts),
    st.builds(Param, names, st.just("string"), st.none() | texts),
    st.builds(Param, names, st.just("duration"), st.sampled_from([None, "0ns", "1h30m", "0.5ms"])),
    st.builds(
        Param, names, st.just("enum"), st.just("a"), choices=st.just((Choice("a", ("p", "q")), Choice("b")))
    ),
)
fields = st.one_of(
    st.builds(
        m.Field,
        names,
        st.integers(0, 8),
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from(["uint", "int", "bool"]),
    ),
    st.builds(
        m.Field, names, st.just(0), st.integers(1, 16), st.sampled_from(["char[]", "bytes"]), texts, texts
    ),
    st.builds(
        m.Field, names, st.just(4), st.just(4), st.just("enum"), names=st.just(((0, "tcp"), (-1, "udp")))
    ),
    st.builds(m.Field, names, st.just(8), st.just(8), st.just("log2_histogram"), element_bytes=st.just(4)),
)
sizes = st.integers(1, 2**32)
capabilities = st.builds(
    m.Capabilities,
    several(names),
    several(texts),
    st.just(("/etc:ro",)),
    st.just(("tcp:*.example:443",)),
    several(names),
    sizes,
    st.none() | sizes,
)
programs = st.builds(
    m.ProgramNeeds,
    names,
    texts,
    names,
    several(names),
    several(names),
    st.none() | texts,
    several(texts),
    kernels,
)
maps = st.builds(m.MapNeeds, names, names, numbers, numbers, numbers, numbers, kernels)
manifests = st.builds(
    m.Manifest,
    names,
    texts,
    texts,
    params=several(params),
    capabilities=capabilities,
    objects=several(st.builds(m.ObjectNeeds, names, several(programs), several(maps))),
    events=several(st.builds(m.EventType, names, st.just(16), several(fields), texts)),
)


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: m.Manifest) -> None:
    assert m.Manifest.parse(manifest.to_json()) == manifest


def test_what_is_written() -> None:
    manifest = m.Manifest("opensnoop", "1.0.0", params=(Param("pid", "uint", 0),))
    assert json.loads(manifest.to_json()) == {
        "abi": 1,
        "name": "opensnoop",
        "version": "1.0.0",
        "params": [{"name": "pid", "type": "uint", "default": 0}],
    }
    assert manifest.param("pid") is manifest.params[0]
    assert manifest.param("uid") is None


def event(**changes: Any) -> dict[str, Any]:
    field = {"name": "f", "offset": 0, "bytes": 8, "kind": "uint"} | changes
    return {"events": [{"name": "e", "bytes": 8, "fields": [field]}]}


def param(**changes: Any) -> dict[str, Any]:
    return {"params": [{"name": "p", "type": "uint"} | changes]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": 1}, "name: must be a text, not 1"),
        ({"name": None}, "name: must be a text, not None"),
        ({"name": "a/b"}, "name: must be lower-case letters"),
        ({"name": "a", "abi": 2}, "built for ABI 2, this is 1"),
        ({"name": "a", "abi": "1"}, "abi: must be a whole number"),
        ({"name": "a", "abi": True}, "abi: must be a whole number"),
        ({"name": "a", "description": "\x1b[2J"}, "description: has letters that can't be shown"),
        ({"name": "a", "params": {}}, "params: must be a list, not an object"),
        ({"name": "a", "params": [[]]}, r"params\[0\]: must be an object, not a list"),
        ({"name": "a", "params": [{"name": "p"}]}, r"params\[0\].type: is missing"),
        ({"name": "a"} | param(type="u8"), r"params\[0\].type: must be one of bool, .*, not 'u8'"),
        ({"name": "a"} | param(name="P"), r"params\[0\].name: must be lower-case"),
        ({"name": "a"} | param(default="5"), r"params\[0\].default: must be a uint"),
        ({"name": "a"} | param(default=-5), r"params\[0\].default: it must be at least 0"),
        ({"name": "a"} | param(default=True), r"params\[0\].default: it must be a whole number"),
        ({"name": "a"} | param(default=2**70), r"params\[0\].default: "),
        ({"name": "a"} | param(type="duration", default=5), r"params\[0\].default: must be a text"),
        ({"name": "a"} | param(type="enum"), r"params\[0\].choices: must be there"),
        ({"name": "a"} | param(type="bool", default=1), r"params\[0\].default: must be a bool"),
        ({"name": "a", "params": [{"name": "p", "type": "int"}] * 2}, "params: has 'p' twice"),
        ({"name": "a", "capabilities": {"memory_mib": 1.5}}, "capabilities.memory_mib: must be a whole"),
        ({"name": "a", "capabilities": {"memory_mib": 0}}, "capabilities.memory_mib: must be above 0"),
        ({"name": "a", "capabilities": {"deadline_ms": -1}}, "capabilities.deadline_ms: must be above 0"),
        ({"name": "a", "capabilities": {"fs": ["etc:ro"]}}, r"capabilities.fs\[0\]: must be /PATH:ro"),
        ({"name": "a"} | event(offset=1), r"events\[0\].fields\[0\]: must lie in the event"),
        ({"name": "a"} | event(offset=-8), r"events\[0\].fields\[0\]: must lie in the event"),
        ({"name": "a"} | event(bytes=3), r"events\[0\].fields\[0\].bytes: can't be 3 for uint"),
        ({"name": "a"} | event(kind="array"), r"events\[0\].fields\[0\].element_bytes"),
        ({"name": "a"} | event(names=[[1]]), r"events\[0\].fields\[0\].names\[0\]: must have 2 items"),
        ([], "it: must be an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(content: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        m.Manifest.parse(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"name": "a", "abi": NaN}', "NaN is no number"),
        (b'{"name": "a", "abi": ' + b"9" * 5000 + b"}", "it is not JSON"),
    ],
)
def test_what_is_no_json(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        m.Manifest.parse(content)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


@given(manifests, st.data())
def test_a_damaged_manifest_is_read_or_refused(manifest: m.Manifest, data: st.DataObject) -> None:
    """One value anywhere in a good manifest is replaced."""
    value = json.loads(manifest.to_json())
    place: Any = value
    while place and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)):
            break
        place = place[key]
    if place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        place[key] = data.draw(values)
    try:
        read = m.Manifest.parse(json.dumps(value).encode())
    except FormatError:
        return
    assert m.Manifest.parse(read.to_json()) == read

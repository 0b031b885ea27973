from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.unit.pool.conftest import PoolMaker
from wbpf.errors import AccessError, ConfigError, FormatError, PoolError, PoolFull
from wbpf.pool import LatencyTable, Pool, PoolCorruptError, UnknownHostError


def test_files_are_whole_and_not_for_everybody(pool: Pool) -> None:
    files = sorted(pool.path.parent.glob(f"{pool.path.name}*"))
    assert [file.name for file in files] == ["pool0", "pool0.a", "pool0.b", "pool0.lock"]
    assert pool.path.stat().st_size == 4 << 20
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o660
        assert file.stat().st_blocks * 512 >= file.stat().st_size  # no holes
    pool.unlink()
    assert not list(pool.path.parent.glob(f"{pool.path.name}*"))


def test_two_openings_see_one_pool(pool: Pool) -> None:
    with Pool.open(pool.path) as again:
        pool.join("a").put("x", [1, 2])
        assert again.join("b").load("x") == [1, 2]
        assert again.stats() == pool.stats()
        assert [host.name for host in again.hosts] == ["a", "b"]


def test_hosts_have_identities(make_pool: PoolMaker) -> None:
    pool = make_pool(hosts={"near": "direct_cxl", "far": "two_switches"})
    near, far = pool.hosts
    assert (near.access_class, far.access_class) == ("direct_cxl", "two_switches")
    assert near.host_id != far.host_id
    assert not near.alive and near.incarnation == 0
    with pool.join("near") as host, pool.join("near") as other:
        assert host.info == pool.hosts[0] and host.info.alive
        assert host.incarnation == other.incarnation != 0
        first = host.incarnation
    assert not pool.hosts[0].alive
    with pool.join("near") as host:
        assert host.incarnation not in (0, first)
        assert (host.name, host.host_id, host.access_class) == ("near", near.host_id, "direct_cxl")


def test_host_ids_are_fnv1a_of_the_name(pool: Pool) -> None:
    expected = 0xCBF29CE484222325
    for byte in b"a":
        expected = ((expected ^ byte) * 0x100000001B3) % (1 << 64)
    assert pool.hosts[0].host_id == expected


def test_a_pool_that_exists_is_not_made_again(pool: Pool) -> None:
    with pytest.raises(PoolError, match=r"can't make pool .*pool0: .*\n  try: Pool.open\(\)"):
        Pool.create(pool.path, 1 << 20)
    pool.join("a")  # and was not harmed


def test_no_pool_there(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="No such file"):
        Pool.open(tmp_path / "none")
    assert not Pool.unlink_path(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"x" * 100_000, bytes(100_000)])
def test_another_file_is_no_pool(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        Pool.open(path)


def test_a_header_that_contradicts_itself_is_refused(pool: Pool) -> None:
    header = pool.path.read_bytes()[:512]
    for offset in range(8, 120, 4):
        damaged = bytearray(header)
        damaged[offset] ^= 0x55
        with pool.path.open("r+b") as file:
            file.write(damaged)
        if offset in (16, 20, 60):  # the pool's id, and whether it is coherent, may have any value
            continue
        with pytest.raises(FormatError):
            Pool.open(pool.path)


def test_what_everybody_may_write_is_refused(pool: Pool) -> None:
    pool.path.chmod(0o666)
    with pytest.raises(AccessError, match="everybody may write it"):
        Pool.open(pool.path)
    pool.path.chmod(0o660)
    pool.path.with_name("pool0.a").chmod(0o662)
    with pytest.raises(AccessError, match=r"can't join host a: .*everybody may write it"):
        Pool.open(pool.path).join("a")


def test_space_that_can_t_be_had_fails_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    path = Path("/dev/shm") / f"wbpf-test-{tmp_path.name}-large"
    with pytest.raises(PoolFull, match="can't allocate"):
        Pool.create(path, 1 << 45)
    assert not list(path.parent.glob(f"{path.name}*"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"hosts": ()}, PoolError),
        ({"hosts": ("a", "a")}, ConfigError),
        ({"hosts": ("a/b",)}, PoolError),
        ({"hosts": ("lock",)}, PoolError),
        ({"hosts": [f"h{i}" for i in range(33)]}, PoolError),
        ({"hosts": {"a": "one_swich"}}, ConfigError),
        ({"size_bytes": 4096}, PoolError),
        ({"latency": LatencyTable(knee=1.5)}, PoolError),
    ],
)
def test_bad_options(make_pool: PoolMaker, options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_pool(**options)


def test_did_you_mean(make_pool: PoolMaker) -> None:
    with pytest.raises(ConfigError, match="did you mean 'one_switch'"):
        make_pool(hosts={"a": "one_swich"})


def test_unknown_host(pool: Pool) -> None:
    with pytest.raises(UnknownHostError, match="no host 'c'"):
        pool.join("c")


def test_check_finds_damage(pool: Pool) -> None:
    host = pool.join("a")
    host.put("x", b"12345678" * 20)
    pool.check()
    image = pool.path.read_bytes()
    at = image.index(b"x" + bytes(63))  # the entry's id
    with pool.path.open("r+b") as file:
        file.seek(at)
        file.write(b"y")
    pool.check()  # an id may be any text; but its hash chain no longer fits when the hash changes
    with pool.path.open("r+b") as file:
        file.seek(at - 80)
        file.write(b"\xff" * 8)
    with pytest.raises(PoolCorruptError):
        pool.check()


def test_a_closed_pool_is_used_no_more(make_pool: PoolMaker) -> None:
    pool = make_pool()
    host = pool.join("a")
    pool.close()
    host.put("x", 1)  # what was joined goes on
    assert host.load("x") == 1
    with pytest.raises(PoolError, match="released or closed"):
        pool.stats()
    host.close()
    with pytest.raises(PoolError, match="released or closed"):
        host.get("x")

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import wbpf
from wbpf.errors import AccessError, ConfigError, SegmentError, WbpfError
from wbpf.recorder import host_directory, segment_path, segments


@pytest.fixture(autouse=True)
def closed_afterwards() -> object:
    yield
    wbpf.close()


def test_open_makes_the_host_s_folder(tmp_path: Path) -> None:
    wbpf.open("shop", host="host1", directory=tmp_path, size_mib=1)
    path = tmp_path / "host1" / "shop.seg"
    assert segment_path() == str(path)
    assert path.stat().st_size == 1 << 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert segments(host_directory(tmp_path, "host1")) == [path]
    assert segments(tmp_path / "nobody") == []


def test_open_takes_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DIR": str(tmp_path),
        "HOST": "h",
        "SERVICE": "s",
        "SEGMENT_MB": "2",
        "LEVEL": "13",
    }.items():
        monkeypatch.setenv(f"WBPF_{name}", value)
    wbpf.open()
    assert segment_path() == str(host_directory() / "s.seg") == str(tmp_path / "h" / "s.seg")
    assert (tmp_path / "h" / "s.seg").stat().st_size == 2 << 20
    assert not wbpf.enabled("info")
    assert wbpf.enabled("warn")


def test_the_service_is_the_script_or_the_package(tmp_path: Path) -> None:
    text = "import wbpf; wbpf.open(host='h'); print(wbpf.recorder.segment_path())"
    package = tmp_path / "shop"
    package.mkdir()
    for path in (tmp_path / "stock.py", package / "__main__.py"):
        path.write_text(text)
    environment = {**os.environ, "WBPF_DIR": str(tmp_path / "segments"), "PYTHONPATH": str(tmp_path)}
    environment.pop("WBPF_SERVICE", None)
    for words, name in ((["stock.py"], "stock"), (["-m", "shop"], "shop"), (["-c", text], "python")):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{tmp_path}/segments/h/{name}.seg\n"


def test_open_again_is_fine_with_the_same_arguments_alone(tmp_path: Path) -> None:
    wbpf.open("shop", directory=tmp_path, size_mib=1)
    wbpf.open("shop", directory=str(tmp_path), size_mib=1)
    with pytest.raises(ConfigError, match="opened with other arguments"):
        wbpf.open("other", directory=tmp_path, size_mib=1)
    wbpf.close()
    wbpf.close()
    assert segment_path() is None
    wbpf.open("other", directory=tmp_path, size_mib=1)
    with wbpf.trace("request") as trace:
        assert trace.context


def check(error: WbpfError, what: str) -> None:
    assert what in error.what
    assert error.hint
    assert segment_path() is None


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "all"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(AccessError) as raised:
        wbpf.open("shop", directory=open_to_all)
    check(raised.value, str(open_to_all))


def test_what_is_no_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host1").mkdir(mode=0o770)
    path = tmp_path / "host1" / "shop.seg"
    path.write_bytes(b"x" * (1 << 20))
    path.chmod(0o660)
    with pytest.raises(SegmentError) as raised:
        wbpf.open("shop", host="host1", directory=tmp_path)
    check(raised.value, str(path))


def test_no_room_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SegmentError) as raised:
        wbpf.open("shop", directory=tmp_path, size_mib=1 << 20)
    check(raised.value, "no room for the segment")
    assert "WBPF_SEGMENT_MB" in raised.value.hint
    assert not list(tmp_path.glob("*/*.seg*"))


def test_names_and_sizes_are_checked(tmp_path: Path) -> None:
    for wrong in ({"service": "a/b"}, {"host": "."}, {"size_mib": 0}, {"size_mib": -1}, {"level": "loud"}):
        with pytest.raises(ConfigError) as raised:
            wbpf.open(directory=tmp_path, **wrong)
        check(raised.value, "")


def test_no_permission_names_the_folder(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        directory = Path("/proc/wbpf")  # where even root may make no folder
    else:
        directory = tmp_path / "closed"
        directory.mkdir(mode=0o500)
    with pytest.raises((AccessError, SegmentError)) as raised:
        wbpf.open("shop", directory=directory)
    check(raised.value, str(directory))


def test_importing_wbpf_imports_little() -> None:
    heavy = ("numpy", "grpc", "rich", "logging", "inspect", "dataclasses", "wbpf.records")
    code = f"import sys, wbpf; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_names_are_there() -> None:
    for module in (wbpf, wbpf.recorder):
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = module.nothing

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wbpf import envvars
from wbpf.errors import ConfigError


def test_set_variables_are_parsed() -> None:
    environ = {"WBPF_DIR": "/tmp/x", "WBPF_SEGMENT_MB": "8", "WBPF_LEVEL": "warn"}
    assert envvars.DIR.read(environ) == Path("/tmp/x")
    assert envvars.SEGMENT_MB.read(environ) == 8
    assert envvars.LEVEL.read(environ) == "warn"


@pytest.mark.parametrize("environ", [{}, {"WBPF_SEGMENT_MB": ""}])
def test_unset_and_empty_mean_the_default(environ: dict[str, str]) -> None:
    assert envvars.SEGMENT_MB.read(environ) == 64


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_HOST", "a-host")
    assert envvars.HOST.read() == "a-host"


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²"])
def test_a_bad_value_names_the_variable(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"WBPF_SEGMENT_MB={text!r}")):
        envvars.SEGMENT_MB.read({"WBPF_SEGMENT_MB": text})


def test_the_table_is_whole_and_in_words() -> None:
    declared = [item for item in vars(envvars).values() if isinstance(item, envvars.EnvVar)]
    assert list(envvars.ALL) == declared
    for variable in envvars.ALL:
        assert variable.name.startswith("WBPF_")
        assert variable.help
        assert variable.default_text

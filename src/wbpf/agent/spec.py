"""What an agent is told before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from wbpf.envvars import DIR, HOST, POOL
from wbpf.errors import ConfigError
from wbpf.pooled import FlushSpec
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, TlsSpec


@dataclass(frozen=True)
class TriggerLimit:
    """What one trigger name may ask for on this host.

    Args:
        rate: gathers a second, in the long run; 0: no limit.
        burst: gathers at once before the rate counts.
        weight: share under overload, against that of other names.
    """

    rate: float = 0.0
    burst: int = 100
    weight: float = 1.0

    @classmethod
    def parse(cls, name: str, options: Mapping[str, Any]) -> TriggerLimit:
        """Read options.

        Raises:
            ConfigError: one is not known, or has a value that can't be used.
        """
        values: dict[str, Any] = {}
        for key, value in options.items():
            if key not in {item.name for item in fields(cls)}:
                raise ConfigError(
                    f"trigger {name!r}: option {key!r} is not known", "", "use rate, burst and weight"
                )
            try:
                number = int(value) if key == "burst" else float(value)
            except (TypeError, ValueError):
                number = -1
            least = {"rate": 0.0, "burst": 1, "weight": 1e-3}[key]
            if not least <= number <= 1e6:
                raise ConfigError(
                    f"trigger {name!r}: {key}={value!r} can't be used",
                    f"it must be a number of at least {least:g}",
                )
            values[key] = number
        return cls(**values)

    @classmethod
    def parse_flag(cls, text: str) -> tuple[str, TriggerLimit]:
        """Read `NAME:rate=50,burst=100,weight=3`; the name `*` stands for all others.

        Raises:
            ConfigError: the text has another form.
        """
        name, colon, rest = text.rpartition(":")
        pairs = [item.partition("=") for item in rest.split(",")]
        if not colon or not name or not all(equals for _, equals, _ in pairs):
            raise ConfigError(
                f"trigger limit {text!r} can't be used", "", "write it as NAME:rate=50,burst=100,weight=3"
            )
        return name, cls.parse(name, {key.strip(): value.strip() for key, _, value in pairs})


@dataclass(frozen=True)
class AgentSpec:
    """An agent.

    Args:
        host: the host's name; `$WBPF_HOST`, else the host's name.
        directory: of this machine's hosts; `$WBPF_DIR`, else /dev/shm/wbpf-UID.
        coordinator, collector: their addresses.
        tls: None: loopback only.
        limits: by trigger name; `*` for all others.
        queue_most: triggers of one name that wait for the coordinator; more are refused.
        linger_s: how long a trace is watched after the coordinator let it go, for what comes late.
        watch_most_s: how long a trace is watched if the coordinator never lets it go.
        pool: the host's segments are flushed to it, and those of dead hosts read there; `$WBPF_POOL`.
        flush: how much of a segment the pool holds, and how often it is flushed.
        undelivered_bytes: read and not acknowledged by the collector: from there on nothing more is read.
    """

    host: str | None = None
    directory: Path | None = None
    coordinator: str = COORDINATOR_ADDRESS
    collector: str = COLLECTOR_ADDRESS
    tls: TlsSpec | None = None
    limits: Mapping[str, TriggerLimit] = field(default_factory=dict)
    queue_most: int = 1024
    linger_s: float = 0.1
    watch_most_s: float = 120.0
    pool: Path | None = field(default_factory=POOL.read)
    flush: FlushSpec = field(default_factory=FlushSpec)
    undelivered_bytes: int = 64 << 20

    @property
    def host_name(self) -> str:
        return self.host or HOST.read()

    @property
    def host_directory(self) -> Path:
        return (self.directory or DIR.read()) / self.host_name

    def limit(self, trigger: str) -> TriggerLimit:
        return self.limits.get(trigger) or self.limits.get("*") or TriggerLimit()


def read_limits(path: Path) -> dict[str, TriggerLimit]:
    """Read the limits of triggers from a YAML file: `triggers: {NAME: {rate: 50, weight: 3}}`.

    Raises:
        ConfigError: the file can't be read, or has another form.
    """
    try:
        loaded = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"configuration {path} can't be read", str(error)) from error
    triggers = (loaded or {}).get("triggers", {}) if isinstance(loaded or {}, dict) else None
    if not isinstance(triggers, dict) or set(loaded or {}) - {"triggers"}:
        raise ConfigError(
            f"configuration {path} can't be used", "", "write `triggers: {NAME: {rate: 50, weight: 3}}`"
        )
    limits = {}
    for name, options in triggers.items():
        if not isinstance(name, str) or not isinstance(options, dict):
            raise ConfigError(f"configuration {path}: trigger {name!r} has no options")
        limits[name] = TriggerLimit.parse(name, options)
    return limits

"""`wbpf run --once`: a test run of eBPF programs on a context or packet, without a control program."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbpf.cli.flags import Flag, checks_of, flag_of, parse
from wbpf.cli.probe_file import ProbeFile
from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.kernel import Object
    from wbpf.bpf.user.objects import UserObject

_QUEUES = {22, 23, 27, 30, 31, 4}  # without keys that could be listed


def run_once(file: str, arguments: Sequence[str], flags: Mapping[str, Flag]) -> int:
    """Run the programs of a module or object; returns the exit status.

    Raises:
        WbpfError: a program can't be loaded, or was stopped.
    """
    from wbpf.wasm.settled import Settled

    probe = ProbeFile.open(Path(file))
    params = probe.manifest.params if probe.manifest else ()
    given = parse(
        arguments, {**flags, **{param.name: flag_of(param) for param in params}}, f"wbpf run {file}"
    )
    values = given.values
    data, context = (_bytes(values, name) for name in ("data", "context"))
    texts = {param.name: values[param.name] for param in params if param.name in values}
    settled = Settled.of(probe.manifest, probe.path.name, texts, complete=False)
    found: dict[str, Any] = {"programs": [], "maps": {}}
    backend = values.get("backend", "user")
    checks = checks_of(values, backend)
    for name, elf in probe.objects.items():
        with _open(elf, name, backend, checks) as one:
            settled.apply(one)
            chosen = values.get("program")
            wanted = [
                each
                for each in one.programs.values()
                if chosen == each.name or (not chosen and each.autoload)
            ]
            for program in one.programs.values():
                program.autoload = program in wanted
            if not wanted:
                continue
            one.load()
            for program in wanted:
                run = program.test_run(data, context)
                row = {"program": program.name, "section": program.section, "result": run.result}
                found["programs"].append(row | {"data": run.data.hex(), "context": run.context.hex()})
            for each in one.maps.values():
                if each.kind not in _QUEUES and each.key_bytes:
                    title = each.name[max(each.name.find("."), 0) :]  # libbpf's is NAME.rodata
                    found["maps"][title] = {
                        key.hex(): value.hex() for key, value in each.items() if any(value)
                    }
    if not found["programs"]:
        raise ConfigError(f"{values.get('program', file)!r} can't be run", "there is no such program to load")
    _print(found, values.get("output", "columns"))
    return 0


def _open(elf: bytes, name: str, backend: str, checks: bool) -> Object | UserObject:
    if backend == "kernel":
        from wbpf.bpf.kernel import Object

        return Object(elf, name)
    from wbpf.bpf.user.objects import UserObject

    return UserObject(elf, name, checks=checks, cached=True)


def _bytes(values: Mapping[str, str], name: str) -> bytes:
    text = values.get(name, "")
    try:
        if os.path.isfile(text):  # noqa: PTH113 - digits may be longer than a path
            return Path(text).read_bytes()
        return bytes.fromhex(text.removeprefix("0x"))
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"--{name} {text!r} can't be used", str(error), "give a file, or hex digits"
        ) from error


def _print(found: dict[str, Any], output: str) -> None:
    if output == "json":
        print(json.dumps(found))
        return
    if output == "yaml":
        import yaml

        print(yaml.safe_dump(found, sort_keys=False), end="")
        return
    for row in found["programs"]:
        print(f"{row['program']}  {row['section']}  result {row['result']} ({row['result']:#x})")
        for what in ("data", "context"):
            if row[what]:
                print(f"  {what} {row[what]}")
    for name, entries in found["maps"].items():
        print(f"{name}: {len(entries)} not zero")
        for key, value in entries.items():
            print(f"  {key}  {value}")

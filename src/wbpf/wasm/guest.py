"""Guests: modules that run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wbpf import _native
from wbpf.errors import ConfigError, WasmError
from wbpf.wasm.grants import NATIVE, Grants, Rights, demand
from wbpf.wasm.host import END, Host, Setting
from wbpf.wasm.limits import DEFAULT_DEADLINE_MS, DEFAULT_MEMORY_MIB, Limits
from wbpf.wasm.network import asked_with
from wbpf.wasm.result import Cause, RunResult, ended
from wbpf.wasm.settled import Settled

if TYPE_CHECKING:
    from wbpf.bpf.user.attach import Traced
    from wbpf.wasm.events import Decoder, Event
    from wbpf.wasm.filters import Filter
    from wbpf.wasm.manifest import Manifest
    from wbpf.wasm.module import Module
    from wbpf.wasm.params import Value

#: How long a guest may take to end once it is told to; one in a blocking call of WASI's takes longer.
_GRACE_S = 1.0


@dataclass(frozen=True)
class Options:
    """Of Module.start()."""

    args: tuple[str, ...]
    params: Mapping[str, Value]
    env: Mapping[str, str]
    grants: Grants
    limits: Limits
    filter: Filter | None
    where: str | None
    on_event: Callable[[Event], None] | None
    on_log: Callable[[int, str], None] | None
    btf: str | None
    backend: str
    traced: Traced | None
    checks: bool
    on_wait: Callable[[], None] | None
    stdin: bool
    stdout: int
    stderr: int


class Guest:
    """One run of a module, in a thread of its own. Leaving it as a context stops it and detaches all."""

    def __init__(self, module: Module, options: Options) -> None:
        self.name, self._module = module.name, module
        manifest = module.manifest
        setting = _setting(module, options)
        asked = asked_with(manifest, setting.settled.texts) if manifest else None
        if asked is not None:
            demand(module.name, asked, options.grants)
        rights = Rights.of(asked, options.grants)
        self._emitter = Emitter(manifest, options)
        self._host = Host(setting, rights, self._emitter, options.on_log or _ignore, options.on_wait)
        limits = options.limits
        memory_mib = limits.memory_mib or (asked.memory_mib if asked else DEFAULT_MEMORY_MIB)
        deadline_ms = limits.deadline_ms
        if deadline_ms is None and asked is not None:
            deadline_ms = asked.deadline_ms
        with_fuel = limits.fuel is not None
        variables = {name: options.env[name] for name in rights.env if name in options.env}
        self._native = _native.WasmGuest(
            module.code(with_fuel),
            self._host.answer,
            arguments=list(options.args),
            names=list(variables),
            values=list(variables.values()),
            folders=[(path, path, not writable) for path, writable in rights.fs],
            with_stdin=options.stdin,
            stdout_fd=options.stdout,
            stderr_fd=options.stderr,
            memory_bytes=memory_mib << 20,
            deadline_ns=(DEFAULT_DEADLINE_MS if deadline_ms is None else deadline_ms) * 1_000_000,
            fuel=limits.fuel or 0,
            tells_waiting=options.on_wait is not None,
            addresses=list(rights.network),
        )
        self._host.guest = self._native
        self._end: tuple[int, int, str, str] | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wasm {self.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._end = self._native.run()
        finally:
            self._is_over.set()

    @property
    def has_ended(self) -> bool:
        """Whether its thread has come to an end."""
        return self._is_over.is_set()

    def interrupt(self) -> None:
        """Ask it to end: when its rings are empty, waiting fails with EINTR; from any thread."""
        self._native.interrupt()

    def stop(self) -> None:
        """End it where it is; from any thread."""
        self._native.stop()

    def wait(self, timeout_s: float | None = None) -> RunResult:
        """Wait for its end; when the time is over it is interrupted, and stopped a second later.

        Raises:
            WasmError: it trapped, or did what a guest may not; the text says what and where.
        """
        try:
            is_over = self._is_over.wait(timeout_s)
        except BaseException:
            self.finish()
            raise
        return self._result(is_over or self.finish())

    def finish(self) -> bool:
        """Interrupt it, and stop it a second later; from any thread. Whether it has ended."""
        self.interrupt()
        if not self._is_over.wait(_GRACE_S):
            self.stop()
        return self._is_over.wait(_GRACE_S)

    def _result(self, is_over: bool) -> RunResult:
        if self._emitter.failure is not None:
            raise self._emitter.failure
        if not is_over or self._end is None:
            return RunResult(Cause.STOPPED, 0, self._emitter.count, 0, self._host.error)
        number, status, why, trace = self._end
        cause = list(Cause)[number]
        if cause not in (Cause.EXITED, Cause.STOPPED):
            raise ended(self.name, cause, why, trace) from self._host.error
        return RunResult(
            cause,
            status,
            self._emitter.count,
            self._native.memory_bytes(),
            self._host.error or self._refused(),
            self._native.has_told(),
        )

    def _refused(self) -> WasmError | None:
        function, why = self._native.failed()
        return WasmError(f"{function} failed", why) if function else None

    def close(self) -> None:
        """Stop it, detach its programs, and let go of its memory."""
        self.stop()
        self._is_over.wait(_GRACE_S)
        self._host.close()
        if self._is_over.is_set():
            self._thread.join()  # else it may outlive the interpreter, and what it refers to with it
            self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Emitter:
    """Decodes what a guest emits, as far as somebody listens."""

    def __init__(self, manifest: Manifest | None, options: Options) -> None:
        self.count = 0
        #: what `on_event` raised; it ended the guest
        self.failure: Exception | None = None
        self._on_event = options.on_event
        self._kinds = manifest.events if manifest else ()
        self._where = options.where
        self._decoders: dict[int, Decoder] = {}
        if self._where is not None and not self._kinds:
            why = "the module emits no events" if manifest else "the module has no manifest, so no events"
            raise ConfigError(f"--filter {self._where!r} can't be used", why, "leave it out")
        if self._where is not None:  # errors are told before anything runs
            for number in range(len(self._kinds)):
                self._decoder(number)

    def find(self, name: str) -> int | None:
        """The number of an event type."""
        return next((number for number, kind in enumerate(self._kinds) if kind.name == name), None)

    def emit(self, kind: int, records: bytes) -> int:
        """Take records; how many passed the filter."""
        decoder = self._decoder(kind)
        if len(records) % decoder.kind.bytes:
            raise ValueError(f"{len(records)} bytes are no multiple of {decoder.kind.bytes}")
        if self._on_event is None and self._where is None:
            passed = len(records) // decoder.kind.bytes
        else:
            passed = 0
            for event in decoder.decode(records):
                passed += 1
                if self._on_event is not None:
                    try:
                        self._on_event(event)
                    except Exception as error:  # noqa: BLE001 - raised again where the guest is waited for
                        self.failure = error
                        return END
        self.count += passed
        return passed

    def _decoder(self, number: int) -> Decoder:
        if number not in self._decoders:
            from wbpf.wasm.events import Decoder

            self._decoders[number] = Decoder(self._kinds[number], self._where)
        return self._decoders[number]


def _ignore(level: int, text: str) -> None:
    if level < 2:
        sys.stderr.write(f"{text}\n")


def _setting(module: Module, options: Options) -> Setting:
    """What the parameters and the other options say about objects."""
    if options.filter is not None:
        options.filter.pack()  # errors are told before anything runs
    return Setting(
        objects=module.objects,
        settled=Settled.of(module.manifest, module.name, options.params),
        filter=options.filter,
        btf=options.btf,
        backend=options.backend,
        traced=options.traced,
        checks=options.checks,
        ahead=module.ahead if NATIVE in options.grants.kinds else b"",
    )

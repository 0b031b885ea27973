"""Modules: opened, compiled or taken from the cache, and run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wbpf import _native
from wbpf.errors import ConfigError, FormatError, WasmError
from wbpf.wasm.cache import Cache
from wbpf.wasm.engine import open_engine
from wbpf.wasm.file import read_file
from wbpf.wasm.grants import Grants
from wbpf.wasm.guest import Guest, Options
from wbpf.wasm.imports import validate_imports
from wbpf.wasm.limits import Limits
from wbpf.wasm.result import RunResult
from wbpf.wasm.sections import AOT_PREFIX, MANIFEST, objects, read_sections, with_exported_table

if TYPE_CHECKING:
    from wbpf.bpf.user.attach import Traced
    from wbpf.wasm.events import Event
    from wbpf.wasm.filters import Filter
    from wbpf.wasm.manifest import Manifest
    from wbpf.wasm.params import Value

_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_NO_CODE = "it is damaged, or needs something of WebAssembly that is not supported"


class Module:
    """A WebAssembly module with its eBPF objects. Any number of guests may run it, also at once.

    Args:
        wasm: the module's bytes.
        name: for messages, and the guest's first argument.
        cache: of compiled code; None: compile it anew.

    Raises:
        FormatError: it is no module, is damaged, or its manifest is.
        WasmError: there is no Wasmtime.
    """

    def __init__(self, wasm: bytes, name: str = "module", cache: Cache | None = None) -> None:
        self.wasm, self.name, self._cache = wasm, name, cache
        sections = read_sections(wasm)
        #: the eBPF objects in it, by name
        self.objects = objects(sections)
        #: its programs, translated for machines as this one by whoever built it
        self.ahead = sections.get(f"{AOT_PREFIX}{os.uname().machine}", b"")
        #: None for a module that was not made by `wbpf build`
        self.manifest: Manifest | None = None
        if MANIFEST in sections:
            from wbpf.wasm.manifest import Manifest

            self.manifest = Manifest.of(sections)
        self._compiled: dict[bool, _native.WasmModule] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, cache: Cache | None = None) -> Module:
        """Open a file; its compiled code is kept in the user's cache by default.

        Raises:
            ConfigError: it can't be read.
            FormatError: see Module.
        """
        content = read_file(path)
        try:
            return cls(content, os.path.basename(path), Cache() if cache is None else cache)  # noqa: PTH119
        except FormatError as error:
            what = f"{os.fspath(path)!r} can't be run"
            raise FormatError(what, ": ".join(filter(None, (error.what, error.why))), error.hint) from error

    def _btf(self, given: str | None) -> str | None:
        """The file of the kernel's BTF, where the kernel has none or another is given."""
        if given is None and os.path.exists(_KERNEL_BTF):  # noqa: PTH110
            return None
        from wbpf.bpf.btf.search import find

        found = find(sections=read_sections(self.wasm), btf=given)
        return None if found is None else os.fspath(found)

    def backend(self, wanted: str) -> str:
        """`kernel` or `user`; for `auto`, what it can run on here. Raises ConfigError: there is none such."""
        if wanted in ("kernel", "user"):
            return wanted
        if wanted != "auto":
            raise ConfigError(f"backend {wanted!r} can't be used", "", "choose from auto, kernel, user")
        from wbpf.wasm.backend import without_kernel

        return "user" if without_kernel(self.objects, self.manifest) else "kernel"

    def imports(self) -> list[tuple[str, str]]:
        """What it imports: module and name."""
        return self.code(False).imports()

    def code(self, with_fuel: bool) -> _native.WasmModule:
        """Its compiled code.

        Raises:
            WasmError: it can't be compiled.
        """
        if with_fuel not in self._compiled:
            open_engine()
            self._compiled[with_fuel] = self._load(with_fuel)
        return self._compiled[with_fuel]

    def _load(self, with_fuel: bool) -> _native.WasmModule:
        code = self._cache.find(self.wasm, with_fuel) if self._cache else None
        if code is None:
            wasm = self.wasm
            if b"wasm_bpf_buffer_poll" in wasm:  # it names its function by the place in the table
                wasm = with_exported_table(wasm)
            code, why = _native.WasmModule.compile(wasm, with_fuel)
            if code is None:
                cause = re.sub(r"^\s*\d+: ", "", why.splitlines()[-1])  # the last of a numbered chain
                raise WasmError(
                    f"module {self.name!r} can't be compiled", cause.strip() or _NO_CODE, "build it again"
                )
            validate_imports(code.imports())
            if self._cache:
                self._cache.keep(self.wasm, with_fuel, code)
        return code

    def keep_plan(self, flags: Iterable[str]) -> None:
        """Write its plan to the cache, if it can be run by one: see wbpf.wasm.plan.

        Args:
            flags: of the command line.
        """
        if self._cache is None:
            return
        from wbpf.wasm.plan import plan_of

        plan = plan_of(self, self.imports(), flags)
        if plan is not None:
            self._cache.keep_plan(self.wasm, plan)

    def start(
        self,
        args: Sequence[str] = (),
        *,
        params: Mapping[str, Value] | None = None,
        env: Mapping[str, str] | None = None,
        grants: Grants | None = None,
        limits: Limits | None = None,
        filter: Filter | None = None,
        where: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_log: Callable[[int, str], None] | None = None,
        btf: str | os.PathLike[str] | None = None,
        backend: str = "kernel",
        traced: Traced | None = None,
        checks: bool = False,
        on_wait: Callable[[], None] | None = None,
        stdin: bool = False,
        stdout: int = 1,
        stderr: int = 2,
    ) -> Guest:
        """Run it in a thread of its own.

        Args:
            args: for the guest, behind its name.
            params: values of the manifest's parameters, by name, as texts of the command line (`"10ms"`) or
                plain (a duration in ns); the others have their defaults.
            env: from which the manifest's variables are taken; the process's by default.
            grants: what of the manifest's wishes it gets; nothing by default. A module without a manifest may
                load any eBPF program, and gets no files, network or environment.
            limits: of memory, time and instructions.
            filter: which processes its programs trace.
            where: a CEL expression; events for which it is not true are left out.
            on_event: gets the events, on the guest's thread.
            on_log: gets what it logs: level (0 error to 3 debug) and text.
            btf: a file with the kernel's BTF, or an archive's folder or URL; see docs/btf.md.
            backend: `kernel`, `user`, or `auto` for the kernel where it can be used; docs/user-backend.md.
            traced: in user space, the process that programs are attached to.
            checks: in user space, run also what is not proved to be safe, with checks as it runs.
            on_wait: called when it waits for the first time: its programs are attached by then.
            stdin: whether it reads this process's.
            stdout: descriptor that its standard output goes to.
            stderr: the same of its standard error.

        Raises:
            AccessError: something it asks for is not granted.
            ConfigError: a parameter, filter or expression can't be used.
            WasmError: it can't be compiled, or imports what is not there.
        """
        options = Options(
            args=(self.name, *args),
            params=params or {},
            env=os.environ if env is None else env,
            grants=grants or Grants(),
            limits=limits or Limits(),
            filter=filter,
            where=where,
            on_event=on_event,
            on_log=on_log,
            btf=self._btf(None if btf is None else os.fspath(btf)),
            backend=self.backend(backend),
            traced=traced,
            checks=checks,
            on_wait=on_wait,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        return Guest(self, options)

    def run(
        self, args: Sequence[str] = (), *, duration_s: float | None = None, **options: object
    ) -> RunResult:
        """Run it and wait for its end; Ctrl-C ends it.

        Args:
            args: see start().
            duration_s: it is stopped after so long.
            options: see start().

        Raises:
            WasmError: it trapped, or did what a guest may not; the text says what and where.
        """
        with self.start(args, **options) as guest:  # type: ignore[arg-type]
            return guest.wait(duration_s)

    async def run_async(
        self, args: Sequence[str] = (), *, duration_s: float | None = None, **options: object
    ) -> RunResult:
        """The same without blocking the event loop; cancelling it stops the guest."""
        import asyncio

        with self.start(args, **options) as guest:  # type: ignore[arg-type]
            try:
                return await asyncio.to_thread(guest.wait, duration_s)
            except asyncio.CancelledError:
                guest.stop()
                raise


def module_of_text(text: str) -> bytes:
    """A module from WebAssembly's text format.

    Raises:
        WasmError: the text is wrong.
    """
    open_engine()
    wasm, why = _native.wasm_from_text(text.encode())
    if why:
        raise WasmError("the text is no WebAssembly module", why)
    return wasm

"""`wbpf run`: run an eBPF application packaged as a WebAssembly module."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from wbpf.cli.flags import Flag, checks_of, flag_of, parse, split, usage
from wbpf.errors import ConfigError, WbpfError

if TYPE_CHECKING:
    from wbpf.cli.tracing import Tracing
    from wbpf.wasm.events import Event
    from wbpf.wasm.grants import Grants
    from wbpf.wasm.module import Module
    from wbpf.wasm.result import RunResult

FLAGS = {
    flag.name: flag
    for flag in (
        Flag("output", "columns|json|yaml", "How to print events; json is one object a line.", "o"),
        Flag("fields", "A,B,…", "Fields of events to print, in this order."),
        Flag("filter", "CEL", "Print the events for which this is true: 'ms > 10 && comm == \"dd\"'."),
        Flag("pid", "PID", "Trace this process only."),
        Flag("comm", "NAME", "Trace threads of this name only."),
        Flag("cgroup", "PATH", "Trace processes in this cgroup only, and below it."),
        Flag("duration", "TIME", "Stop after 10s, 500ms, 2m."),
        Flag(
            "backend",
            "auto|kernel|user",
            "What runs the eBPF programs; with user, -- COMMAND is what to trace.",
        ),
        Flag("checks", "", "In user space, run also what is not proved to be safe, with checks as it runs."),
        Flag("btf", "FILE|ARCHIVE", "The kernel's BTF, where the kernel has none itself."),
        Flag(
            "allow", "KINDS", "Grant what it asks for: all, or programs,attach,fs,network,env; native apart."
        ),
        Flag("memory", "MIB", "Memory that it may use, in place of what its manifest says."),
        Flag("deadline", "TIME", "How long it may compute without waiting; 0s: without end."),
        Flag("verbose", "", "Show what it logs, and all of a verifier's words.", "v"),
        Flag(
            "once", "", "Only run its eBPF programs once, with --context and --data; FILE may be an object."
        ),
        Flag("program", "NAME", "With --once: this one alone."),
        Flag("context", "FILE|HEX", "With --once: the context."),
        Flag("data", "FILE|HEX", "With --once: the packet."),
        Flag("help", "", "Show the module's flags; needs no privileges.", "h"),
    )
}
#: Signals in so short a time are one, as in native/launcher/run.c.
_TOGETHER_S = 0.2
_OUTPUTS = ("columns", "json", "yaml")
_HEAD = "Usage: wbpf run [OPTIONS] MODULE [PARAMETERS] [-- ARGUMENTS | -- COMMAND]"


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status.

    Raises:
        WbpfError: it can't run, or was ended.
    """
    at = split(arguments, FLAGS)
    if at < 0:
        if any(word in ("-h", "--help") for word in arguments):
            print(_help())
            return 0
        raise ConfigError("there is no module to run", _HEAD, "wbpf run app.wasm")
    if "--once" in arguments:
        from wbpf.cli.once import run_once

        return run_once(arguments[at], [*arguments[:at], *arguments[at + 1 :]], FLAGS)
    from wbpf.wasm.module import Module

    module = Module.open(arguments[at])
    lists = "wbpf run MODULE --help"
    if module.manifest is None:  # as other runtimes take it: -d 100 is the module's
        lists = f"put the module's own arguments behind --; for others, {lists}"
    given = parse([*arguments[:at], *arguments[at + 1 :]], flags_of(module), lists)
    if "help" in given.values:
        print(_help(module))
        return 0
    backend = _backend(module, _one_of(given.values, "backend", ("auto", "kernel", "user")))
    if given.values.get("backend") != "user":  # what `--` means does not depend on the host
        return _run(module, given.values, backend, [*given.words, *given.rest], [])
    return _run(module, given.values, backend, given.words, given.rest)


def flags_of(module: Module) -> dict[str, Flag]:
    """The command's flags, and those of the module's parameters."""
    params = module.manifest.params if module.manifest else ()
    return FLAGS | {param.name: flag_of(param) for param in params}


def _run(
    module: Module, values: dict[str, str], backend: str, arguments: list[str], command: list[str]
) -> int:
    from wbpf.wasm.limits import Limits

    output = _one_of(values, "output", _OUTPUTS)
    verbose = values.get("verbose") == "true"
    printer = EventsPrinter(module, output, values.get("fields"), (os.getpid(),))
    params = module.manifest.params if module.manifest else ()
    given = {param.name: values[param.name] for param in params if param.name in values}
    deadline_s = _time_s(values, "deadline")
    options: dict[str, Any] = {
        "params": given,
        "grants": _grants(module, values.get("allow"), given),
        "limits": Limits(
            memory_mib=_number(values, "memory"),
            deadline_ms=None if deadline_s is None else round(deadline_s * 1000),
        ),
        "filter": _filter(values, backend),
        "backend": backend,
        "checks": checks_of(values, backend),
        "where": values.get("filter"),
        "on_event": printer.print,
        "on_log": _log_verbosely if verbose else _log,
        "btf": values.get("btf"),
        "stdin": True,
        "stdout": 1 if output == "columns" else 2,
    }
    duration_s = _time_s(values, "duration")
    if backend == "kernel":
        status, has_ended = _wait(module, arguments, options, duration_s, None, verbose)
        module.keep_plan(FLAGS)
    else:
        from wbpf.cli.tracing import Tracing

        with Tracing(_number(values, "pid"), command, is_quiet=output != "columns") as tracing:
            options |= tracing.options
            status, has_ended = _wait(module, arguments, options, duration_s, tracing, verbose)
        status = status or tracing.status or 0
    if not has_ended:  # its thread is in a call that can't be ended: leave without it
        os._exit(status or 1)
    return status


def _wait(
    module: Module,
    arguments: list[str],
    options: dict[str, Any],
    duration_s: float | None,
    tracing: Tracing | None,
    verbose: bool,
) -> tuple[int, bool]:
    status = 0
    guest = module.start(arguments, **options)
    try:
        if tracing is not None:
            tracing.watch(guest)
        result = guest.wait(duration_s)
        status = result.exit_status
        explain_exit(module, result, verbose)
    except KeyboardInterrupt as signalled:
        status = _status_of(signalled)
    finally:
        guest.close()
        sys.stdout.flush()
    return status, guest.has_ended


def explain_exit(module: Module, result: RunResult, verbose: bool) -> None:
    """Say what the module most likely gave up for, unless it has done so itself."""
    if result.exit_status and result.error is not None:
        from wbpf.cli.output import print_error

        if not result.has_told:
            print_error(result.error)
        log = getattr(result.error, "log", "")
        if verbose and log:
            sys.stderr.write(f"{log}\n")
    if result.exit_status:
        sys.stderr.write(f"{module.name} ended with status {result.exit_status}\n")


# ---- options ----


def _one_of(values: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = values.get(name, allowed[0])
    if value not in allowed:
        raise ConfigError(f"--{name} {value!r} can't be used", "", f"choose from {', '.join(allowed)}")
    return value


def _backend(module: Module, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    from wbpf.wasm.backend import without_kernel

    why = without_kernel(module.objects, module.manifest)
    if why:
        sys.stderr.write(f"eBPF programs run in user space: {why}\n")
    return "user" if why else "kernel"


def _number(values: dict[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(f"--{name} {text!r} can't be used", "", "give a whole number above 0")
    return int(text)


def _time_s(values: dict[str, str], name: str) -> float | None:
    if name not in values:
        return None
    from wbpf.wasm.params import Param

    ns = Param(name, "duration").parse(values[name])
    assert isinstance(ns, int)
    return ns / 1e9


def _filter(values: dict[str, str], backend: str) -> Any:
    pid = _number(values, "pid") if backend == "kernel" else None  # else the programs are in that process
    if pid is None and not {"comm", "cgroup"} & set(values):
        return None
    from wbpf.wasm.filters import Filter

    return Filter(pid, values.get("comm"), values.get("cgroup"))


def _grants(module: Module, allow: str | None, given: dict[str, str]) -> Grants:
    from wbpf.wasm.grants import KINDS, Grants, wishes

    if allow is not None:
        return Grants.parse(allow)
    if not module.manifest or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Grants()
    from wbpf.wasm.network import asked_with
    from wbpf.wasm.settled import Settled

    settled = Settled.of(module.manifest, module.name, given)
    asked = wishes(asked_with(module.manifest, settled.texts))
    if not asked:
        return Grants()
    from wbpf.cli.output import visible

    sys.stderr.write(f"{module.name} asks to\n")
    for kind, what in asked.items():
        sys.stderr.write(f"  {KINDS[kind]}: {visible(what)}\n")
    sys.stderr.write("Allow it? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return Grants.all() if answer.strip().lower() in ("y", "yes") else Grants()


def _help(module: Module | None = None) -> str:
    if module is None:
        return usage(
            f"{_HEAD}\n\nRun an eBPF application packaged as a WebAssembly module.",
            {"Options": list(FLAGS.values())},
        )
    from wbpf.cli.output import visible

    manifest = module.manifest
    about = [f"Usage: wbpf run {module.name} [PARAMETERS] [OPTIONS] [-- ARGUMENTS | -- COMMAND]"]
    if manifest:
        about += ["", visible(f"{manifest.name} {manifest.version}: {manifest.description}")]
    params = [flag_of(param) for param in manifest.params] if manifest else []
    return usage("\n".join(about), {"Parameters": params, "Options": list(FLAGS.values())})


# ---- what it prints ----


def _log(level: int, text: str) -> None:
    if level < 2:
        _log_verbosely(level, text)


def _log_verbosely(level: int, text: str) -> None:
    from wbpf.cli.output import visible

    names = ("error", "warning", "info", "debug")
    sys.stderr.write(f"{names[min(level, 3)]}: {visible(text)}\n")


class EventsPrinter:
    """Prints events; what that takes is imported with the first.

    Args:
        own: ids of the processes that print them: what these do themselves is left out.
    """

    def __init__(self, module: Module, output: str, fields: str | None, own: Container[int]) -> None:
        self._own = own
        self._kinds = module.manifest.events if module.manifest else ()
        self._output, self._fields = output, fields
        self._printer: Any = None
        if fields is not None:
            self._make()

    def _make(self) -> Any:
        from wbpf.cli.events import EventPrinter

        self._printer = EventPrinter(self._kinds, self._output, self._fields)
        return self._printer

    def print(self, event: Event) -> None:
        """Print an event."""
        if event.fields.get("pid") not in self._own:
            (self._printer or self._make()).print(event)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends a module as Ctrl-C does."""


class _Signals:
    """SIGINT and SIGTERM as exceptions; `timeout` sends its own twice, which counts once."""

    def __init__(self) -> None:
        self._last_s = -_TOGETHER_S

    def __call__(self, number: int, _: object) -> None:
        last_s, self._last_s = self._last_s, time.monotonic()
        if self._last_s - last_s >= _TOGETHER_S:
            raise _TerminatedError if number == signal.SIGTERM else KeyboardInterrupt


def _status_of(signalled: KeyboardInterrupt) -> int:
    return 128 + (signal.SIGTERM if isinstance(signalled, _TerminatedError) else signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Run the command and print its errors."""
    signals = _Signals()
    before = signal.signal(signal.SIGTERM, signals)
    if takes_interrupts := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signals)
    try:
        status = run(arguments)
    except WbpfError as error:
        from wbpf.cli.output import print_error

        print_error(error)
        status = error.exit_code
    except KeyboardInterrupt as signalled:
        status = _status_of(signalled)
    except OSError as error:
        from wbpf.cli.output import ended_by

        status = ended_by(error)
    finally:
        signal.signal(signal.SIGTERM, before)
        if takes_interrupts:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stdout.flush()
    except OSError as error:
        from wbpf.cli.output import ended_by

        status = ended_by(error) or status
    return status

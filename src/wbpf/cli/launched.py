"""What the command `wbpf` leaves to Python once it runs a module itself: printing events, and telling why.

`python -m wbpf.cli.launched print|explain|end FD MODULE_FD ARGUMENTS…`: descriptors of what is to be read
and of the module's file, and the command's own arguments behind `run`. `explain` puts the errno and the words
in the place of the failure that it was given. native/launcher is the other side.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator

from wbpf.cli.flags import parse, split
from wbpf.cli.output import ended_by, print_error
from wbpf.cli.run import FLAGS, EventsPrinter, explain_exit, flags_of
from wbpf.errors import WasmError, WbpfError
from wbpf.wasm.events import Decoder
from wbpf.wasm.failures import failure_of, read_texts
from wbpf.wasm.host import number_of
from wbpf.wasm.module import Module
from wbpf.wasm.result import Cause, RunResult, ended

_FRAME = struct.Struct("<III")
_EVENTS, _TEXT = ord("E"), ord("T")


def main(words: list[str]) -> int:
    """Do what is to be done; returns the exit status."""
    verb, fd, module_fd, *arguments = words
    at = split(arguments, FLAGS)
    module = Module(_content(int(module_fd)), os.path.basename(arguments[at]))  # noqa: PTH119
    given = parse([*arguments[:at], *arguments[at + 1 :]], flags_of(module)).values
    if verb == "print":
        return _print(int(fd), module, given)
    texts = read_texts(_content(int(fd)))
    if verb == "explain":
        error = failure_of(texts, module, given)
        os.ftruncate(int(fd), 0)
        os.pwrite(int(fd), f"{number_of(error)} {error}".encode(), 0)
        return 0
    return _end(texts, module, given)


def _print(fd: int, module: Module, given: dict[str, str]) -> int:
    kinds = module.manifest.events if module.manifest else ()
    decoders: dict[int, Decoder] = {}
    own = (os.getpid(), os.getppid())
    printer = EventsPrinter(module, given.get("output", "columns"), given.get("fields"), own)
    try:
        for frame, number, content in _frames(fd):
            if frame == _TEXT:
                sys.stdout.buffer.write(content)
                sys.stdout.flush()
                continue
            decoder = decoders.setdefault(number, Decoder(kinds[number]))
            for event in decoder.decode(content):
                printer.print(event)
    except OSError as error:
        return ended_by(error)
    return 0


def _frames(fd: int) -> Iterator[tuple[int, int, bytes]]:
    with open(fd, "rb") as pipe:
        while len(head := pipe.read(_FRAME.size)) == _FRAME.size:
            kind, number, size = _FRAME.unpack(head)
            content = pipe.read(size)
            if len(content) == size:  # else who sent it was killed
                yield kind, number, content


def _end(texts: list[bytes], module: Module, given: dict[str, str]) -> int:
    """Tell why a module ended as it did."""
    number, status, why, trace, function, function_why, told = (
        text.decode(errors="replace") for text in texts[:7]
    )
    failure = failure_of(texts[7:], module, given) if texts[7:] else None
    cause = list(Cause)[int(number)]
    if cause not in (Cause.EXITED, Cause.STOPPED):
        error = ended(module.name, cause, why, trace)
        print_error(error)
        return error.exit_code
    refused = WasmError(f"{function} failed", function_why) if function else None
    result = RunResult(cause, int(status), error=failure or refused, has_told=told == "told")
    explain_exit(module, result, given.get("verbose") == "true")
    return result.exit_status


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WbpfError as error:
        print_error(error)
        sys.exit(error.exit_code)

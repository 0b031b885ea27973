"""The plugin protocol of the public suite bpf_conformance.

python -m wbpf.bpf.user.conformance [MEMORY] [OPTION]…

MEMORY is what r1 points to, its bytes in hexadecimal; r2 is their number. Instructions come on standard
input, in hexadecimal too. r0 is printed in hexadecimal. Exit status: 0, or 1 with an error on standard error.

--program HEX  the instructions, instead of standard input
--elf          they are an object file, whose section "xdp", or else ".text", is the program
--xdp          MEMORY is a packet, as for programs of the section "xdp" (the suite's --xdp_prolog)

Options of other plugins, such as --debug and --jit, mean nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from wbpf.bpf.elf import sections
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.user.packets import ETHERNET_BYTES, XDP, PacketRun
from wbpf.bpf.user.program import UserProgram
from wbpf.bpf.user.verifier import Context
from wbpf.errors import FormatError, WbpfError


def main(args: Sequence[str], source: TextIO) -> int:
    """Run one program."""
    try:
        print(f"{_run(list(args), source):x}")
    except ValueError as error:
        print(f"error: not hexadecimal: {error}", file=sys.stderr)
        return 1
    except WbpfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: list[str], source: TextIO) -> int:
    text = None
    if "--program" in args[:-1]:
        at = args.index("--program")
        text = args[at + 1]
        del args[at : at + 2]
    memory = bytearray.fromhex(next((arg for arg in args if not arg.startswith("--")), ""))
    code = bytes.fromhex(source.read() if text is None else text)
    packet = "--xdp" in args
    if "--elf" in args:
        code, packet = _program_of(code, packet)
    if not packet:
        return UserProgram.load(code, Context(len(memory), memory=True), checks=True).run(memory).value
    run = PacketRun(ProgramType.XDP, bytes(memory).ljust(ETHERNET_BYTES, b"\0"))
    return UserProgram.load(code, XDP).run(run.memory).value & 0xFFFFFFFF


def _program_of(elf: bytes, packet: bool) -> tuple[bytes, bool]:
    """The instructions in an object file, and whether they are for packets."""
    contents = sections(elf)
    for name in ("xdp", ".text"):
        if contents.get(name):
            return contents[name], packet or name == "xdp"
    raise FormatError("there is no program in the object file", "neither a section xdp nor .text")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin))

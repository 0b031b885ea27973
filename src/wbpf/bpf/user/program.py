"""A program of eBPF instructions, translated and ready to run in this process."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from wbpf import _native
from wbpf.bpf.user.compiling import Blob, compile_blob, triple
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import Call, Insn, Wide, decode, invalid
from wbpf.bpf.user.slots import Slots, Stop
from wbpf.bpf.user.translate import translate
from wbpf.bpf.user.verifier import Context, verify
from wbpf.errors import BpfError

_FUEL = 1 << 32
_STOPPED = {
    Stop.FUEL: "it did not end after {fuel} jumps back",
    Stop.MEMORY: "it used memory that is not its own, at {address:#x}",
    Stop.CALL: "it called an address that is none of its functions",
    Stop.DEPTH: "its callbacks are nested too deep",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What a run returned.

    Args:
        value: of r0.
    """

    value: int


class UserProgram:
    """A translated program.

    Args:
        code: instructions, 8 bytes each.
        context: what r1 points to; it must not be smaller at a run.
        checks: check what can't be proved while it runs; else it is refused.

    Raises:
        FormatError: an instruction is not of the set, or control goes wrong.
        BpfError: it can't be proved to be safe.
    """

    def __init__(self, code: bytes, context: Context, *, checks: bool = False) -> None:
        insns = decode(code)
        _validate_calls(insns)
        flow = analyse(insns)
        self.context = context
        self.slots = Slots()
        verdict = verify(flow, context)
        refused = verdict.fatal or ([] if checks else verdict.problems)
        if refused:
            raise BpfError(
                "the program is not safe", str(refused[0]), "" if verdict.fatal else "run it with checks"
            )
        self.proof = verdict.proof
        arch = platform.machine()
        assembly = translate(flow, self.slots, self.proof, triple(arch))
        self.blob: Blob = compile_blob(assembly, len(insns), arch)
        self._native = _native.UserProgram(
            self.blob.code, self.blob.entry, self.slots.helpers, [], [], [], not self.proof.complete
        )

    def run(self, context: bytearray | memoryview | None = None, fuel: int = _FUEL) -> Result:
        """Run it once.

        Args:
            context: memory that r1 points to, which the program may change.
            fuel: jumps back that it may take, if their number was not proved to be limited.

        Raises:
            BpfError: it was stopped.
        """
        size = len(context) if context is not None else 0
        if size < self.context.bytes:
            raise BpfError(
                "the program can't be run", f"its context has {size} bytes, not {self.context.bytes}"
            )
        value, stopped, at, address = self._native.run(context, fuel)
        if stopped:
            why = _STOPPED[Stop(stopped)].format(fuel=fuel, address=address)
            raise BpfError("the program was stopped", f"instruction {at}: {why}")
        return Result(value)


def _validate_calls(insns: list[Insn]) -> None:
    for insn in insns:
        if insn.opcode == 0x85 and insn.src == Call.HELPER and insn.imm != 12:
            if not _native.have_user_helper(insn.imm):
                raise invalid(insn.at, f"there is no helper {insn.imm} in user space")
        elif insn.opcode == 0x85 and insn.src == Call.KFUNC:
            raise invalid(insn.at, "there are no kernel functions in user space")
        elif insn.is_wide and insn.src not in (Wide.NUMBER, Wide.CODE):
            raise invalid(
                insn.at, "it refers to a map or a variable, which a program by itself does not have"
            )

"""A program of eBPF instructions, translated and ready to run in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wbpf import _native
from wbpf.bpf.user.compiling import compile_blob
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import Call, Insn, Wide, decode, invalid
from wbpf.bpf.user.proof import Proof
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


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program that is not loaded yet.

    Args:
        code: instructions, 8 bytes each.
        context: what r1 points to; it must not be smaller at a run.
        checks: check what can't be proved while it runs; else it is refused.
    """

    code: bytes
    context: Context
    checks: bool = False


class UserProgram:
    """A translated program.

    Args:
        proof: what the verifier found out about it.
        code: its machine code.
    """

    def __init__(self, native: _native.UserProgram, context: Context, proof: Proof, code: bytes) -> None:
        self.native, self.context, self.proof, self.code = native, context, proof, code

    @classmethod
    def load(cls, code: bytes, context: Context, *, checks: bool = False) -> UserProgram:
        """Load one program; raises as `load_programs`."""
        return load_programs({"program": ProgramSpec(code, context, checks)})["program"]

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
        value, stopped, at, address = self.native.run(context, fuel)
        if stopped:
            why = _STOPPED[Stop(stopped)].format(fuel=fuel, address=address)
            raise BpfError("the program was stopped", f"instruction {at}: {why}")
        return Result(value)


def load_programs(specs: Mapping[str, ProgramSpec]) -> dict[str, UserProgram]:
    """Verify and translate programs; together that takes less time than one by one.

    Raises:
        FormatError: an instruction is not of the set, or control goes wrong.
        BpfError: a program can't be proved to be safe.
    """
    assemblies: dict[str, str] = {}
    proofs: dict[str, tuple[Proof, Slots]] = {}
    count = 0
    for name, spec in specs.items():
        insns = decode(spec.code)
        _validate_calls(insns)
        flow = analyse(insns)
        verdict = verify(flow, spec.context)
        refused = verdict.fatal or ([] if spec.checks else verdict.problems)
        if refused:
            hint = "" if verdict.fatal else "run it with checks"
            raise BpfError(f"{name} is not proved to be safe", str(refused[0]), hint)
        slots = Slots()
        assemblies[name] = translate(name, flow, slots, verdict.proof)
        proofs[name] = verdict.proof, slots
        count = max(count, len(insns))
    blob = compile_blob(assemblies, count)
    loaded = {}
    for name, (proof, slots) in proofs.items():
        native = _native.UserProgram(
            blob.code, blob.entries[name], slots.helpers, [], [], [], not proof.complete
        )
        loaded[name] = UserProgram(native, specs[name].context, proof, blob.code)
    return loaded


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

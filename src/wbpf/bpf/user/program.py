"""A program of eBPF instructions, translated and ready to run in this process."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wbpf import _native
from wbpf.bpf.btf.ext import LineInfo
from wbpf.bpf.diagnosis import Rejection
from wbpf.bpf.helpers import helper_name
from wbpf.bpf.user import blobs
from wbpf.bpf.user.blobs import Part, Translation, key_of
from wbpf.bpf.user.flow import Flow, analyse, resolve_calls
from wbpf.bpf.user.isa import POISON, Call, Insn, Wide, decode
from wbpf.bpf.user.proof import Proof
from wbpf.bpf.user.slots import Slots, Stop
from wbpf.bpf.user.translate import translate
from wbpf.bpf.user.verifier import Context, MapModel, Problem, verify
from wbpf.errors import BpfError

_FUEL = 1 << 32
_WITH_CHECKS = "run it with checks: wbpf run --checks, or checks=True"
#: Helpers that take what has to be given back: a lock, a record, the records of a ring.
_TAKES = {93, 131, 209}
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
class LoadedMap:
    """A map that programs may use.

    Args:
        address: what helpers know it by.
        values: where the values of an array begin; 0: it is none.
        owner: what its memory is there as long as.
        entries: as `struct wbpf_env` has them; 0: as in the model.
    """

    model: MapModel
    address: int
    values: int
    owner: object = None
    entries: int = 0


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program that is not loaded yet.

    Args:
        code: instructions, 8 bytes each.
        context: what r1 points to; it must not be smaller at a run.
        checks: check what can't be proved while it runs; else it is refused.
        maps: by their slots.
        line: the source line of an instruction, by its index.
    """

    code: bytes
    context: Context
    checks: bool = False
    maps: tuple[LoadedMap, ...] = ()
    line: Callable[[int], LineInfo | None] = lambda at: None

    def said(self, at: int, why: str) -> str:
        """What is wrong with an instruction, and where that is in the source."""
        line = self.line(at)
        if line is None:
            return f"instruction {at}: {why}"
        return str(Rejection(why, line.text.strip(), f"{Path(line.file).name}:{line.line}", at))


class UserProgram:
    """A translated program.

    Args:
        spec: what it was made from; it keeps its maps.
        code: its machine code.
        part: where it begins in the code, and which helpers it calls.
    """

    def __init__(self, native: _native.UserProgram, spec: ProgramSpec, code: bytes, part: Part) -> None:
        self.native, self.spec, self.code = native, spec, code
        self.context, self.maps = spec.context, spec.maps
        self.entry, self.helpers = part.entry, part.helpers
        #: every access and loop is proved, so that nothing is checked while it runs
        self.is_proved = part.complete

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
        least = self.context.run_bytes or self.context.bytes
        if size < least:
            raise BpfError("the program can't be run", f"its context has {size} bytes, not {least}")
        value, stopped, at, address = self.native.run(context, fuel)
        if stopped:
            why = _STOPPED[Stop(stopped)].format(fuel=fuel, address=address)
            raise BpfError("the program was stopped", self.spec.said(at, why))
        return Result(value)


@dataclass(frozen=True, slots=True)
class Verified:
    """A program that was found to be safe."""

    flow: Flow
    proof: Proof


def verify_program(name: str, spec: ProgramSpec) -> Verified:
    """Prove that a program is safe.

    Raises:
        FormatError: an instruction is not of the set, or control goes wrong.
        BpfError: it can't be proved, or needs what user space does not have.
    """
    insns = resolve_calls(decode(spec.code))
    if wrong := _wrong_reference(insns, len(spec.maps)):
        raise BpfError(f"program {name!r} can't be loaded", spec.said(wrong.at, wrong.why))
    # As in the kernel, what can't be reached may call what there is not.
    missing = _missing(insns)
    insns = [replace(insn, src=Call.HELPER, imm=POISON) if insn.at in missing else insn for insn in insns]
    flow = analyse(insns)
    verdict = verify(flow, spec.context, [one.model for one in spec.maps])
    # What a checked program may write is no place for addresses that others rely on.
    # Nor may a program be stopped that has to give something back.
    takes = any(insn.opcode == 0x85 and insn.src == Call.HELPER and insn.imm in _TAKES for insn in insns)
    may_be_checked = not spec.context.places and not takes
    checks = spec.checks and may_be_checked
    refused = verdict.fatal or ([] if checks else verdict.problems)
    if refused and refused[0].at in missing:
        raise BpfError(f"program {name!r} can't be loaded", spec.said(refused[0].at, missing[refused[0].at]))
    if refused:
        hint = _WITH_CHECKS if may_be_checked and not verdict.fatal else ""
        why = spec.said(refused[0].at, refused[0].why)
        raise BpfError(f"program {name!r} is not proved to be safe", why, hint)
    return Verified(flow, verdict.proof)


def translate_programs(specs: Mapping[str, ProgramSpec], arch: str = platform.machine()) -> Translation:
    """Verify programs and translate them for an architecture; together that takes less time than one by one.

    Raises:
        FormatError, BpfError: as `verify_program`; or there is no translator.
    """
    verified = {name: verify_program(name, spec) for name, spec in specs.items()}
    try:
        from wbpf.bpf.user.compiling import compile_blob
    except ImportError as error:
        why = f"the translator to machine code is missing: {error}"
        raise NoTranslatorError(
            "eBPF programs can't be run in user space", why, "pip install 'wbpf[user]'"
        ) from error
    slots = {name: Slots() for name in specs}
    texts = {name: translate(name, one.flow, slots[name], one.proof) for name, one in verified.items()}
    count = max((len(spec.code) // 8 for spec in specs.values()), default=0)
    blob = compile_blob(texts, count, arch)
    parts = {
        name: Part(blob.entries[name], tuple(slots[name].helpers), one.proof.complete)
        for name, one in verified.items()
    }
    return Translation(blob.code, parts)


class NoTranslatorError(BpfError):
    """LLVM is not installed."""


def load_programs(
    specs: Mapping[str, ProgramSpec], *, cached: bool = False, ahead: bytes = b""
) -> dict[str, UserProgram]:
    """Make programs ready to run.

    Args:
        specs: by their names.
        cached: keep their translation, or take what was kept.
        ahead: translations that somebody who is trusted made before, for where there is no translator.

    Raises:
        FormatError, BpfError: as `translate_programs`.
    """
    key = key_of(specs) if cached or ahead else ""
    translation = _fitting(blobs.find(key) if cached else None, specs)
    if translation is None:
        try:
            translation = translate_programs(specs)
        except NoTranslatorError:
            translation = _fitting(blobs.unpack(ahead, key), specs)
            if translation is None:
                raise
        else:
            if cached:
                blobs.keep(key, translation)
    return {name: _ready(spec, translation.code, translation.parts[name]) for name, spec in specs.items()}


def _fitting(translation: Translation | None, specs: Mapping[str, ProgramSpec]) -> Translation | None:
    return translation if translation is not None and translation.parts.keys() == specs.keys() else None


def _ready(spec: ProgramSpec, code: bytes, part: Part) -> UserProgram:
    native = _native.UserProgram(
        code,
        part.entry,
        list(part.helpers),
        [one.address for one in spec.maps],
        [one.values for one in spec.maps],
        [one.entries or one.model.entries for one in spec.maps],
        not part.complete,
        spec.context.kind,
    )
    return UserProgram(native, spec, code, part)


def _missing(insns: list[Insn]) -> dict[int, str]:
    """Calls of what user space does not have, and why each can't be made."""
    missing = {}
    for insn in insns:
        called = insn.opcode == 0x85 and insn.src == Call.HELPER and insn.imm not in (12, POISON)
        if called and not _native.have_user_helper(insn.imm):
            name = helper_name(insn.imm)
            name = name if name.startswith("number ") else f"bpf_{name}"
            missing[insn.at] = f"there is no helper {name} in user space"
        elif insn.opcode == 0x85 and insn.src == Call.KFUNC:
            missing[insn.at] = "there are no kernel functions in user space"
    return missing


def _wrong_reference(insns: list[Insn], maps: int) -> Problem | None:
    """The first instruction that needs what is not there."""
    for insn in insns:
        if insn.is_wide and insn.src not in (Wide.NUMBER, Wide.CODE):
            linked = insn.src in (Wide.MAP_INDEX, Wide.MAP_INDEX_VALUE)
            if not linked or insn.imm & 0xFFFFFFFF >= maps:
                why = "it refers to a map or a variable, which a program by itself does not have"
                return Problem(insn.at, why)
    return None

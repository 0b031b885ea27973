"""Programs translated as if nothing could be proved of them."""

from __future__ import annotations

from wbpf import _native
from wbpf.bpf.user.blobs import Part
from wbpf.bpf.user.compiling import compile_blob
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import decode
from wbpf.bpf.user.program import LoadedMap, ProgramSpec, UserProgram
from wbpf.bpf.user.proof import Proof
from wbpf.bpf.user.slots import Slots
from wbpf.bpf.user.translate import translate
from wbpf.bpf.user.verifier import Context


def load_unproved(code: bytes, context: Context, maps: tuple[LoadedMap, ...] = ()) -> UserProgram:
    """Load a program with all checks."""
    insns, slots = decode(code), Slots()
    blob = compile_blob({"program": translate("program", analyse(insns), slots, Proof())}, len(insns))
    entry = blob.entries["program"]
    addresses, values = [one.address for one in maps], [one.values for one in maps]
    entries = [one.entries for one in maps]
    native = _native.UserProgram(
        blob.code, entry, slots.helpers, addresses, values, entries, True, context.kind
    )
    part = Part(entry, tuple(slots.helpers), complete=False)
    return UserProgram(native, ProgramSpec(code, context, maps=maps), blob.code, part)

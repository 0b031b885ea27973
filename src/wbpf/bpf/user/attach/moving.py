"""Instructions that a jump takes the place of: which these are, and how they stand elsewhere."""

from __future__ import annotations

from typing import Any

from wbpf.bpf.user.attach.wire import Code
from wbpf.errors import BpfError

JUMP_BYTES = 5
_MOST = 32
_SCANNED_UNKNOWN = 4096


class UnmovableError(BpfError):
    """No jump can take the place of a function's first instructions."""


def move(body: bytes, start: int, address: int, size: int, what: str) -> Code:
    """How instructions are replaced by a jump.

    Args:
        body: the function that they are in, and what lies behind it.
        start: the address of that.
        address: of the instructions.
        size: of the function; 0 if that is not known.
        what: can't be done if this raises.

    Raises:
        UnmovableError: there is no room, or they mean something else elsewhere.
        BpfError: there is no disassembler.
    """
    if address % 64 == 63:  # it could not be restored while threads run it
        raise UnmovableError(what, "its first two bytes are in two lines of the cache")
    code = body[address - start :]
    left = start + size - address if size else 0
    moved = bytearray()
    fixes: list[int] = []
    at = 0
    ended = False
    for insn in _disassembler(what).disasm(code[: _MOST + 16], address):
        if at >= JUMP_BYTES:
            break
        if not ended:
            ended = _move_one(insn, address, moved, fixes, what)
        elif insn.mnemonic not in ("nop", "int3"):  # what fills the room up to the next function
            raise UnmovableError(what, f"it has {at} bytes, and a jump {JUMP_BYTES}")
        at += insn.size
    if at < JUMP_BYTES or (0 < left < at and not ended):
        raise UnmovableError(what, "its instructions can't be read")
    _demand_no_target(body[: size or _SCANNED_UNKNOWN], start, address, at, what)
    return Code(code[:at] if not ended else code[: min(at, JUMP_BYTES)], bytes(moved), tuple(fixes))


def _move_one(insn: Any, address: int, moved: bytearray, fixes: list[int], what: str) -> bool:
    """True: it is the last one of a function."""
    name, old = insn.mnemonic.split()[-1], bytes(insn.bytes)
    if name in ("call", "lcall", "syscall", "int3", "int", "ud2", "hlt", "sysenter"):
        raise UnmovableError(what, f"its begin has an instruction {name!r}")
    target = _target(insn)
    if target is not None:
        if name == "jmp":
            opcode = b"\xe9"
        elif name.startswith("j") and not name.endswith("cxz"):
            opcode = bytes((0x0F, 0x80 | (old[-2 if insn.size == 2 else -5] & 15)))
        else:
            raise UnmovableError(what, f"its begin has an instruction {name!r}")
        end = address + len(moved) + len(opcode) + 4
        fixes.append(len(moved) + len(opcode))
        moved += opcode + _relative(target - end, what)
        return bool(name == "jmp")
    if insn.disp_offset and insn.modrm & 0xC7 == 5:  # relative to the next instruction
        old_word = int.from_bytes(old[insn.disp_offset : insn.disp_offset + 4], "little", signed=True)
        shift = insn.address - (address + len(moved))
        fixes.append(len(moved) + insn.disp_offset)
        old = old[: insn.disp_offset] + _relative(old_word + shift, what) + old[insn.disp_offset + 4 :]
    moved += old
    return name in ("ret", "retf", "jmp")


def _relative(distance: int, what: str) -> bytes:
    try:
        return distance.to_bytes(4, "little", signed=True)
    except OverflowError:
        raise UnmovableError(what, "its begin refers to something far away") from None


def _target(insn: Any) -> int | None:
    """Of a direct jump."""
    name = insn.mnemonic.split()[-1]
    if not (name.startswith(("j", "loop")) or name == "xbegin"):
        return None
    return int(insn.op_str, 16) if insn.op_str.startswith("0x") else None


def _demand_no_target(body: bytes, start: int, address: int, replaced: int, what: str) -> None:
    """Nothing jumps between the instructions that are replaced."""
    engine = _disassembler(what, detail=False)
    for _, _, name, operands in engine.disasm_lite(body, start):
        if (
            name.startswith(("j", "loop"))
            and operands.startswith("0x")
            and address < int(operands, 16) < address + replaced
        ):
            raise UnmovableError(what, "its code jumps between the instructions that a jump would replace")


def _disassembler(what: str, *, detail: bool = True) -> Any:
    try:
        import capstone
    except ImportError as error:
        raise BpfError(what, "needs capstone", "pip install 'wbpf[hook]'") from error
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = detail
    return engine

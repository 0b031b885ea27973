"""A plain interpreter of eBPF instructions after RFC 9669: what translated programs are compared with."""

from __future__ import annotations

from wbpf.bpf.user.isa import FETCH, Alu, Atomic, Call, Class, Insn, Jump, Mode, Wide, decode

M64, M32 = (1 << 64) - 1, (1 << 32) - 1
CONTEXT, STACK, CODE = 0x10000, 0x20000, 0x30000


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Machine:
    """One run. The context is at CONTEXT, the top of the stack at STACK.

    Args:
        memory: what r1 points to.
    """

    def __init__(self, code: bytes, memory: bytearray) -> None:
        self.insns = {insn.at: insn for insn in decode(code)}
        self.memory, self.stack = memory, bytearray(4096)
        self.r = [0] * 11
        self.shift(0)

    def shift(self, by: int) -> None:
        """Put memory and code elsewhere, the memory aligned otherwise; the stack stays aligned."""
        self.context, self.top, self.code = CONTEXT + by, STACK + 48 * by, CODE + 80 * by
        self.r[1], self.r[2], self.r[10] = self.context, len(self.memory), self.top

    def place(self, address: int, size: int) -> tuple[bytearray, int]:
        if self.context <= address <= self.context + len(self.memory) - size:
            return self.memory, address - self.context
        if self.top - 4096 <= address <= self.top - size:
            return self.stack, address - self.top + 4096
        raise MemoryError(hex(address))

    def load(self, address: int, size: int) -> int:
        where, at = self.place(address & M64, size)
        return int.from_bytes(where[at : at + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        where, at = self.place(address & M64, size)
        where[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def run(self, steps: int = 1_000_000) -> int:
        at, back = 0, []
        for _ in range(steps):
            insn = self.insns[at]
            at = insn.next
            if insn.is_exit:
                if not back:
                    return self.r[0]
                at, kept, self.r[10] = back.pop()
                self.r[6:10] = kept
            elif insn.cls in (Class.JMP, Class.JMP32):
                if insn.code == Jump.CALL:
                    assert insn.src == Call.LOCAL
                    back.append((at, self.r[6:10], self.r[10]))
                    self.r[10] -= 512
                    at = insn.target
                elif self.jumps(insn):
                    at = insn.target
            else:
                self.step(insn)
        raise TimeoutError

    def jumps(self, insn: Insn) -> bool:
        bits = 64 if insn.cls is Class.JMP else 32
        mask = (1 << bits) - 1
        a, b = self.r[insn.dst] & mask, (self.r[insn.src] if insn.by_register else insn.imm) & mask
        sa, sb = signed(a, bits), signed(b, bits)
        return {
            Jump.JA: True,
            Jump.JEQ: a == b,
            Jump.JGT: a > b,
            Jump.JGE: a >= b,
            Jump.JSET: bool(a & b),
            Jump.JNE: a != b,
            Jump.JSGT: sa > sb,
            Jump.JSGE: sa >= sb,
            Jump.JLT: a < b,
            Jump.JLE: a <= b,
            Jump.JSLT: sa < sb,
            Jump.JSLE: sa <= sb,
        }[Jump(insn.code)]

    def step(self, insn: Insn) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                self.r[insn.dst] = self.alu(insn)
            case Class.LD:
                function = insn.src == Wide.CODE
                self.r[insn.dst] = (insn.imm + (self.code if function else 0)) & M64
            case Class.LDX if insn.mode != Mode.ATOMIC:
                value = self.load(self.r[insn.src] + insn.off, insn.width)
                if insn.mode == Mode.MEMSX:
                    value = signed(value, 8 * insn.width) & M64
                self.r[insn.dst] = value
            case Class.ST:
                self.store(self.r[insn.dst] + insn.off, insn.width, insn.imm)
            case _ if insn.mode == Mode.ATOMIC:
                self.atomic(insn)
            case _:
                self.store(self.r[insn.dst] + insn.off, insn.width, self.r[insn.src])

    def alu(self, insn: Insn) -> int:
        bits = 64 if insn.cls is Class.ALU64 else 32
        mask = (1 << bits) - 1
        code = insn.code
        if code == Alu.END:
            part = self.r[insn.dst] & ((1 << insn.imm) - 1)
            if bits == 64 or insn.by_register:
                part = int.from_bytes(part.to_bytes(insn.imm // 8, "little"), "big")
            return part
        a = self.r[insn.dst] & mask
        b = (self.r[insn.src] if insn.by_register else insn.imm) & mask
        return self.computed(code, insn.off, a, b, bits) & mask

    def computed(self, code: int, off: int, a: int, b: int, bits: int) -> int:
        sa, sb = signed(a, bits), signed(b, bits)
        match code:
            case Alu.ADD:
                return a + b
            case Alu.SUB:
                return a - b
            case Alu.MUL:
                return a * b
            case Alu.OR:
                return a | b
            case Alu.AND:
                return a & b
            case Alu.XOR:
                return a ^ b
            case Alu.LSH:
                return a << (b & (bits - 1))
            case Alu.RSH:
                return a >> (b & (bits - 1))
            case Alu.ARSH:
                return sa >> (b & (bits - 1))
            case Alu.NEG:
                return -a
            case Alu.MOV:
                return signed(b, off) if off else b
        if not b:
            return 0 if code == Alu.DIV else a
        if not off:
            return a // b if code == Alu.DIV else a % b
        quotient = abs(sa) // abs(sb) * (1 if (sa < 0) == (sb < 0) else -1)
        return quotient if code == Alu.DIV else sa - quotient * sb

    def atomic(self, insn: Insn) -> None:
        size = insn.width
        if insn.imm == Atomic.LOAD_ACQ:
            self.r[insn.dst] = self.load(self.r[insn.src] + insn.off, size)
            return
        address = self.r[insn.dst] + insn.off
        if insn.imm == Atomic.STORE_REL:
            self.store(address, size, self.r[insn.src])
            return
        mask = (1 << 8 * size) - 1
        old, operand = self.load(address, size), self.r[insn.src] & mask
        if insn.imm == Atomic.CMPXCHG | FETCH:
            if old == self.r[0] & mask:
                self.store(address, size, operand)
            self.r[0] = old
            return
        new = {
            Atomic.ADD: old + operand,
            Atomic.OR: old | operand,
            Atomic.AND: old & operand,
            Atomic.XOR: old ^ operand,
            Atomic.XCHG: operand,
        }[Atomic(insn.imm & ~FETCH)]
        self.store(address, size, new)
        if insn.imm & FETCH:
            self.r[insn.src] = old

"""Random programs that the kernel's verifier takes: numbers, jumps, loops, the stack, a packet's bytes."""

from __future__ import annotations

import random
import struct

MEMORY_BYTES = 64
_ALU = [0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9, 0xA, 0xB, 0xC]
_JUMPS = [0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xA, 0xB, 0xC, 0xD]
_NUMBERS = [0, 1, -1, 2, 7, 31, 32, 63, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, -0x80000000, 0x12345678]


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction."""
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


def wide(dst: int, number: int, src: int = 0) -> bytes:
    """A wide immediate."""
    low, high = number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
    return struct.pack("<BBhIII", 0x18, dst | src << 4, 0, low, 0, high)


class Maker:
    """Makes one program from a seed. r6 holds the address of 64 bytes of memory, r0 and r2 to r5 numbers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.registers = [0, 2, 3, 4, 5]

    def number(self) -> int:
        r = self.random
        return r.choice(_NUMBERS) if r.random() < 0.6 else r.randrange(-(1 << 31), 1 << 31)

    def program(self, prologue: bytes) -> bytes:
        """A program; `prologue` leaves the memory's address in r6 or ends the program."""
        r = self.random
        numbers = [r.getrandbits(64) if r.random() < 0.5 else self.number() for _ in self.registers]
        parts = [prologue, *map(wide, self.registers, numbers)]
        parts += [insn(0x7B, 10, r.choice(self.registers), slot) for slot in range(-32, 0, 8)]
        parts += [self.loop() if r.random() < 0.3 else self.block() for _ in range(r.randrange(1, 5))]
        parts += [insn(0xAF, 0, register) for register in self.registers[1:]]
        return b"".join([*parts, insn(0x95)])

    def block(self) -> bytes:
        parts = [self.step() for _ in range(self.random.randrange(1, 12))]
        if self.random.random() < 0.5:
            parts.insert(
                self.random.randrange(len(parts)), self.jump(b"".join(self.step() for _ in range(3)))
            )
        return b"".join(parts)

    def jump(self, over: bytes) -> bytes:
        r = self.random
        cls, code = r.choice((0x05, 0x06)), r.choice(_JUMPS)
        if r.random() < 0.5:
            return (
                insn(code << 4 | 8 | cls, r.choice(self.registers), r.choice(self.registers), len(over) // 8)
                + over
            )
        return insn(code << 4 | cls, r.choice(self.registers), 0, len(over) // 8, self.number()) + over

    def loop(self) -> bytes:
        """Counts in r7, which nothing else uses."""
        inside = self.block()
        back = -(len(inside) // 8 + 2)
        rounds = self.random.randrange(1, 9)
        return insn(0xB7, 7) + inside + insn(0x07, 7, 0, 0, 1) + insn(0xA5, 7, 0, back, rounds)

    def step(self) -> bytes:
        r = self.random
        dst, src = r.choice(self.registers), r.choice(self.registers)
        match r.randrange(10):
            case 0:
                return insn(r.choice((0x61, 0x69, 0x71, 0x79)), dst, 6, r.randrange(MEMORY_BYTES - 8))
            case 1:
                return insn(r.choice((0x63, 0x6B, 0x73, 0x7B)), 6, src, r.randrange(MEMORY_BYTES - 8))
            case 2:
                return insn(
                    r.choice((0x62, 0x6A, 0x72, 0x7A)), 6, 0, r.randrange(MEMORY_BYTES - 8), self.number()
                )
            case 3:
                return self.swap(dst)
            case 4:
                slot = 8 * r.randrange(-4, 0)
                return insn(0x79, dst, 10, slot) if r.random() < 0.5 else insn(0x7B, 10, src, slot)
            case 5:
                return self.atomic(src)
            case 6:
                return insn(r.choice((0x81, 0x89, 0x91)), dst, 6, r.randrange(MEMORY_BYTES - 8))
        return self.alu(dst, src)

    def swap(self, dst: int) -> bytes:
        opcode = self.random.choice((0xD4, 0xDC, 0xD7))
        return insn(opcode, dst, 0, 0, self.random.choice((16, 32, 64)))

    def atomic(self, src: int) -> bytes:
        size = self.random.choice((0xC3, 0xDB))
        operation = self.random.choice((0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1))
        return insn(size, 10, src, 8 * self.random.randrange(-4, 0), operation)

    def alu(self, dst: int, src: int) -> bytes:
        r = self.random
        code, cls = r.choice(_ALU), r.choice((0x04, 0x07))
        bits = 64 if cls == 7 else 32
        by_register = r.random() < 0.5
        off = 0
        if code in (3, 9):
            off = r.choice((0, 1))
        elif code == 0xB and by_register:
            off = r.choice((0, 8, 16, 32) if cls == 7 else (0, 8, 16))
        if by_register:
            return insn(code << 4 | 8 | cls, dst, src, off)
        number = self.number()
        if code in (6, 7, 0xC):
            number = r.randrange(bits)
        elif code in (3, 9):
            number = number or 3  # the kernel refuses a division by 0 that it sees
        return insn(code << 4 | cls, dst, 0, off, number)

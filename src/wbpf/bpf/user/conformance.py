"""The plugin protocol of the public suite bpf_conformance: python -m wbpf.bpf.user.conformance [MEMORY].

MEMORY is what r1 points to, its bytes in hexadecimal; r2 is their number. Instructions come on standard
input, in hexadecimal too. r0 is printed in hexadecimal. Exit status: 0, or 1 with an error on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wbpf.bpf.user.program import UserProgram
from wbpf.bpf.user.verifier import Context
from wbpf.errors import WbpfError


def main(args: Sequence[str], text: str) -> int:
    """Run one program."""
    memory = next((arg for arg in args if not arg.startswith("-")), "")
    try:
        context = bytearray.fromhex(memory)
        program = UserProgram.load(bytes.fromhex(text), Context(len(context), memory=True), checks=True)
        print(f"{program.run(context).value:x}")
    except ValueError as error:
        print(f"error: not hexadecimal: {error}", file=sys.stderr)
        return 1
    except WbpfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.read()))

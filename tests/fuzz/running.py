"""Runs a fuzz target in Python: case after case, each made from its number alone."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable

OneCase = Callable[[random.Random, Counter[str]], None]


def fuzz(one_case: OneCase, seconds: float, first: int = 0) -> tuple[int, Counter[str]]:
    """Run cases for so long; how many, and what they counted. A failure names its case."""
    told: Counter[str] = Counter()
    number, end_s = first, time.monotonic() + seconds
    while number == first or time.monotonic() < end_s:
        try:
            one_case(random.Random(number), told)
        except BaseException as error:
            error.add_note(f"case {number}: repeat it with FIRST={number}")
            raise
        number += 1
    return number - first, told


def main(one_case: OneCase) -> None:
    """`python -m tests.fuzz.NAME SECONDS [FIRST]`."""
    first = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() >> 20
    cases, told = fuzz(one_case, float(sys.argv[1]), first)
    print(f"{cases} cases from {first}: {dict(told)}")

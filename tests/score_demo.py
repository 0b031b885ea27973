"""Score a run of `wbpf demo --keep DIR` from what the injector wrote and what was exported, nothing else.

    python tests/score_demo.py DIR/faults.jsonl DIR/traces.json

Prints one JSON object. Exit status 1 if a fault that took effect was missed or is incomplete.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wbpf.demo.score import score_files


def main() -> int:
    faults, traces = map(Path, sys.argv[1:])
    result = score_files(faults, traces)
    print(json.dumps(result.to_dict(), indent=2))
    return 0 if result.all_caught else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m wbpf.coordinator`: the coordinator as a child process, see wbpf.wire.child."""

import sys

from wbpf.coordinator import Coordinator, CoordinatorSpec
from wbpf.wire.child import run_child

if __name__ == "__main__":
    sys.exit(run_child(CoordinatorSpec, Coordinator))

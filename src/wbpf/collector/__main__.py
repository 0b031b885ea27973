"""`python -m wbpf.collector`: the collector as a child process, see wbpf.wire.child."""

import sys

from wbpf.collector import Collector, CollectorSpec
from wbpf.wire.child import run_child

if __name__ == "__main__":
    sys.exit(run_child(CollectorSpec, Collector))

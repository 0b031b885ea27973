"""`python -m wbpf.agent`: the agent as a child process, see wbpf.wire.child."""

import sys

from wbpf.agent import Agent, AgentSpec
from wbpf.wire.child import run_child

if __name__ == "__main__":
    sys.exit(run_child(AgentSpec, Agent))

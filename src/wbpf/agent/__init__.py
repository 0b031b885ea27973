"""The agent: one a host; takes triggers to the coordinator and what they ask for to the collector."""

from wbpf.agent.agent import Agent
from wbpf.agent.segments import segment_status
from wbpf.agent.spec import AgentSpec, TriggerLimit, read_limits

__all__ = ["Agent", "AgentSpec", "TriggerLimit", "read_limits", "segment_status"]

"""The daemons of one machine as a tree of processes, for `wbpf up`, tests and programs."""

from wbpf.up.tree import Child, Tree, TreeSpec

__all__ = ["Child", "Tree", "TreeSpec"]

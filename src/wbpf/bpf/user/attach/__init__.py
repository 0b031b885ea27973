"""Attaching programs in user space to what happens in processes."""

from wbpf.bpf.user.attach.program import PROBE_CONTEXT, AttachedProgram, Memory
from wbpf.bpf.user.attach.site import Link, attach_site

__all__ = ["PROBE_CONTEXT", "AttachedProgram", "Link", "Memory", "attach_site"]

"""Attaching programs in user space to what happens in processes."""

from wbpf.bpf.user.attach.site import Detached, Link, attach_site

__all__ = ["Detached", "Link", "attach_site"]

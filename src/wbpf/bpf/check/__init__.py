"""Told before anything is loaded: which programs a kernel takes, and why it does not take the others."""

from wbpf.bpf.check.check import check_object
from wbpf.bpf.check.findings import Finding
from wbpf.bpf.check.kernel import Kernel

__all__ = ["Finding", "Kernel", "check_object"]

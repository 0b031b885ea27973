"""Proving before a program runs that it stays in its memory and ends."""

from wbpf.bpf.user.verifier.models import Context, Field, MapModel
from wbpf.bpf.user.verifier.verifier import Problem, Verdict, verify

__all__ = ["Context", "Field", "MapModel", "Problem", "Verdict", "verify"]

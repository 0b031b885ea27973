"""The kernel that programs are checked for: this one, which can be asked, or another, known by its BTF."""

from __future__ import annotations

import errno
import os
from functools import cached_property
from pathlib import Path

from wbpf.bpf.btf import Btf, Kind, Resolver
from wbpf.bpf.btf.types import Enum
from wbpf.bpf.check.trial import Trial, knows_helper, load_trial
from wbpf.bpf.diagnosis import forbidden, kernel_functions
from wbpf.bpf.features import Answer, Have, have_capabilities
from wbpf.bpf.helpers import helper_name
from wbpf.bpf.kinds import MapType, ProgramType, name_of
from wbpf.bpf.nearest import hint
from wbpf.bpf.tracefs import tracepoints
from wbpf.errors import WbpfError

_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_READS_KERNEL = {4, 45, 113, 115, 112, 114}  # probe_read and its kin


class Kernel:
    """A kernel.

    Args:
        btf: its types; None if nobody has them.
        here: it is the running one, which can be asked for what BTF does not say.
    """

    def __init__(self, btf: Btf | None, *, here: bool) -> None:
        self.btf, self.here = btf, here
        self.resolver = Resolver(btf) if btf else None
        self._helpers: dict[tuple[Trial, int], Answer] = {}

    # ---- asked for by types of programs ----

    def have_program_type(self, trial: Trial, what: str) -> Answer:
        """Whether it takes programs of a kind, at the place that the trial names."""
        what = f"programs of kind {what}"
        constant = f"BPF_PROG_TYPE_{name_of(trial.type, ProgramType)}"
        if self._lacks("bpf_prog_type", constant):
            return Answer(what, Have.NO, f"its BTF has no {constant}", "use a newer kernel")
        if not self.here:
            return Answer(what, Have.YES, "its BTF")
        if trial.type in (ProgramType.EXT, ProgramType.STRUCT_OPS):
            return Answer(what, Have.UNKNOWN, "such programs can't be tried alone")
        rights = have_capabilities(("CAP_BPF",))
        if not rights:
            return Answer(what, Have.UNKNOWN, f"the kernel can't be asked: {rights.why}", rights.hint)
        error, log = load_trial(trial)
        if error == 0:
            return Answer(what, Have.YES, "tried")
        if error == -errno.EPERM and not log:
            return Answer(what, Have.NO, *forbidden(trial.type))
        said = [line for line in log.splitlines() if line and not line.startswith("processed ")]
        last = said[-1:] or [f"it refuses them: {os.strerror(-error)}"]
        return Answer(what, Have.NO, last[0], "use another kind of program, or another kernel")

    def have_helper(self, trial: Trial, helper: int) -> Answer:
        """Whether programs of a kind may call a helper."""
        key = (trial, helper)
        if key not in self._helpers:
            self._helpers[key] = self._ask_helper(trial, helper)
        return self._helpers[key]

    def _ask_helper(self, trial: Trial, helper: int) -> Answer:
        name = helper_name(helper)
        what = f"helper bpf_{name}"
        hint = "use a newer kernel, or guard the call: bpf_core_enum_value_exists(enum bpf_func_id, …)"
        if self._lacks("bpf_func_id", f"BPF_FUNC_{name}") or name.startswith("number "):
            return Answer(what, Have.NO, "the kernel has no such helper", hint)
        if not self.here:
            return Answer(what, Have.YES, "its BTF")
        if helper in _READS_KERNEL and "[confidentiality]" in self.lockdown:
            return Answer(what, Have.NO, "the kernel is locked down for confidentiality", "boot it without")
        if not have_capabilities(("CAP_BPF",)):
            return Answer(what, Have.UNKNOWN, "the kernel can't be asked: CAP_BPF is missing", "run as root")
        known = knows_helper(trial, helper)
        if known is False:
            kind = name_of(trial.type, ProgramType).lower()
            return Answer(what, Have.NO, f"programs of type {kind} can't call it on this kernel", hint)
        return Answer(
            what, Have.YES if known else Have.UNKNOWN, "tried" if known else "the trial was refused"
        )

    def have_map_type(self, kind: int) -> Answer:
        """Whether it has maps of a type."""
        name = name_of(kind, MapType)
        what, constant = f"map type {name}", f"BPF_MAP_TYPE_{name}"
        if self.btf is None:
            return Answer(what, Have.UNKNOWN, "the kernel has no BTF to look into")
        if self._lacks("bpf_map_type", constant) or name.startswith("number "):
            return Answer(what, Have.NO, "the kernel has no such maps", "use a newer kernel")
        return Answer(what, Have.YES, "its BTF")

    # ---- asked for by names ----

    def have_function(self, name: str, what: str, *, prefix: str = "") -> Answer:
        """Whether its BTF has a function. Args: prefix: of the function's name, that nobody writes."""
        if self.btf is None:
            return Answer(what, Have.UNKNOWN, "the kernel has no BTF to look into")
        if self.btf.find(prefix + name, Kind.FUNC):
            return Answer(what, Have.YES, "its BTF")
        names = {
            one.removeprefix(prefix)
            for one, ids in self.btf.names.items()
            if one.startswith(prefix) and any(self.btf.kind(each) is Kind.FUNC for each in ids)
        }
        return Answer(what, Have.NO, f"the kernel's BTF has no function {name!r}", hint(name, names))

    def have_raw_tracepoint(self, name: str) -> Answer:
        """Whether it has a tracepoint, as raw tracepoints and `tp_btf` know it."""
        what = f"raw tracepoint {name}"
        if self.btf is None:
            return Answer(what, Have.UNKNOWN, "the kernel has no BTF to look into")
        if self.btf.find(f"btf_trace_{name}", Kind.TYPEDEF):
            return Answer(what, Have.YES, "its BTF")
        start = "btf_trace_"
        names = {one.removeprefix(start) for one in self.btf.names if one.startswith(start)}
        return Answer(what, Have.NO, f"the kernel has no raw tracepoint {name!r}", hint(name, names))

    def have_tracepoint(self, category: str, name: str) -> Answer:
        """Whether tracefs lists a tracepoint."""
        what = f"tracepoint {category}:{name}"
        if not self.here:
            return self._other_tracepoint(what, category, name)
        try:
            names = tracepoints(category)
            if name in names:
                return Answer(what, Have.YES, "tracefs")
            if names:
                why = f"the kernel's category {category!r} has no {name!r}"
                return Answer(what, Have.NO, why, hint(name, names))
            categories = {one.partition(":")[0] for one in tracepoints()}
            return Answer(
                what, Have.NO, f"the kernel has no category {category!r}", hint(category, categories)
            )
        except WbpfError as error:
            return Answer(what, Have.UNKNOWN, error.why or error.what, error.hint)

    def _other_tracepoint(self, what: str, category: str, name: str) -> Answer:
        if category == "syscalls":
            return Answer(what, Have.UNKNOWN, "BTF does not tell of system calls")
        found = self.have_raw_tracepoint(name)
        return Answer(what, found.have, found.why, found.hint)

    @cached_property
    def functions(self) -> set[str]:
        """What /proc/kallsyms lists; empty for another kernel."""
        return kernel_functions() if self.here else set()

    @cached_property
    def lockdown(self) -> str:
        """What the lockdown says of itself; "" where there is none."""
        try:
            return _LOCKDOWN.read_text() if self.here else ""
        except OSError:
            return ""

    @cached_property
    def _constants(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name in ("bpf_prog_type", "bpf_map_type", "bpf_func_id"):
            one = self.btf.find(name, Kind.ENUM) if self.btf else None
            if isinstance(one, Enum):
                found[name] = {each for each, _ in one.values}
        return found

    def _lacks(self, enum: str, constant: str) -> bool:
        """Whether its BTF has the enum, but not the constant."""
        known = self._constants.get(enum)
        return known is not None and constant not in known

"""What libbpf and the verifier say, in the words of who has to do something about it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wbpf import _native
from wbpf.bpf.features import GIVE_BTF, Answer, have_capabilities, have_kernel_btf
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.nearest import hint
from wbpf.errors import AccessError, BpfError, WbpfError

_RIGHTS = (-errno.EPERM, -errno.EACCES)
_STATISTICS = re.compile(r"processed \d+ insns|libbpf: |verification time|stack depth|mark_precise")
_INSTRUCTION = re.compile(r"(?:from \d+ to )?(\d+): (?:\(|R\d|safe)")
_SOURCE = re.compile(r"; (?P<text>.*?)(?: @ (?P<file>[^ :]+):(?P<line>\d+))?$")
_WHOLE_LOG = "-v shows the verifier's whole log"
#: By words of the verifier (kernel/bpf/verifier.c), those of older kernels too.
_REMEDIES = (
    (
        r"invalid mem access '(scalar|inv|untrusted_ptr_|rdonly_untrusted_mem)",
        "it is no pointer that the verifier knows: read there by BPF_CORE_READ() or bpf_probe_read_kernel()",
    ),
    (r"invalid mem access '\w+_or_null'", "it may be NULL: compare it with NULL before"),
    (r"invalid access to packet", "compare the end of what is read with data_end before"),
    (
        r"unbounded|value is negative|invalid (variable-offset|access to (map value|memory))|outside of the",
        "compare the index or size with its bounds before, in the same variable",
    ),
    (r"!read_ok", "give it a value on every way there"),
    (r"back-edge|infinite loop", "give the loop a bound that the verifier sees, or use bpf_loop()"),
    (r"GPL", 'say SEC("license") = "GPL", if that is its licence'),
    (r"[Uu]nreleased reference", "release it on every way out: submit, discard, bpf_sk_release()"),
    (
        r"combined stack size|invalid (write to )?stack",
        "use less of the stack's 512 bytes: a per-CPU array has room",
    ),
)
_BEGIN, _END = "-- BEGIN PROG LOAD LOG --\n", "-- END PROG LOAD LOG --"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the verifier refused a program.

    Args:
        reason: its last word on the matter.
        source: the line of C that it was about; "" if the object has no line information.
        place: that line's `FILE:LINE`; kernels from 6.10 tell.
        instruction: that it was about; None if it was about none.
    """

    reason: str
    source: str = ""
    place: str = ""
    instruction: int | None = None

    @property
    def where(self) -> str:
        """The line of C, as well as it is known: "at `return x;` (a.bpf.c:5)"."""
        if self.source:
            return f"at `{self.source}`" + (f" ({self.place})" if self.place else "")
        if self.place:
            return f"at {self.place}"
        return "" if self.instruction is None else f"at instruction {self.instruction}"

    def __str__(self) -> str:
        return f"{self.reason}, {self.where}" if self.where else self.reason


def parse_rejection(log: str) -> Rejection | None:
    """What the verifier's log, within libbpf's, comes to; None if there is no such log."""
    _, found, verifier = log.partition(_BEGIN)
    said = [line for line in verifier.partition(_END)[0].splitlines() if line and not _STATISTICS.match(line)]
    if not found or not said:
        return None
    source = next((match for line in reversed(said) if (match := _SOURCE.match(line))), None)
    place = f"{source['file']}:{source['line']}" if source and source["file"] else ""
    instructions = (match for line in reversed(said) if (match := _INSTRUCTION.match(line)))
    instruction = next((int(match[1]) for match in instructions), None)
    reasons = [line for line in said if not _SOURCE.match(line) and not _INSTRUCTION.match(line)]
    reason = reasons[-1] if reasons else said[-1]
    return Rejection(reason, source["text"] if source else "", place, instruction)


def reason_of(log: str) -> str:
    """The line that matters: of the verifier's log, else the last thing that libbpf found wrong."""
    rejection = parse_rejection(log)
    if rejection:
        return str(rejection)
    lines = [line.removeprefix("libbpf: ") for line in log.splitlines() if line]
    lines = [line for line in lines if not line.startswith(("failed to load object", "failed to open obj"))]
    return lines[0] if lines else ""


def demand(answer: Answer, what: str) -> None:
    """Raise what failed and what is missing for it, unless the answer is yes."""
    if not answer:
        raise BpfError(what, f"needs {answer.what}: {answer.why}", answer.hint)


def explain(
    what: str,
    error: int,
    log: str,
    *,
    needs: Iterable[str] = ("CAP_BPF", "CAP_PERFMON"),
    btf: str | None = None,
    kind: int = 0,
) -> WbpfError:
    """The exception for what libbpf or the kernel refused.

    Args:
        what: failed.
        error: a negative errno.
        log: what libbpf said; kept as the exception's `log`.
        needs: the capabilities that it takes.
        btf: the file of the kernel's BTF that was asked for.
        kind: the type of the program that it is about, 0 if it is about none.
    """
    rights = have_capabilities(needs)
    explained: WbpfError
    if error in _RIGHTS and not rights:
        explained = AccessError(what, rights.why, rights.hint)
    else:
        explained = _explain_load(what, error, log, btf, kind)
    if isinstance(explained, BpfError):
        explained.log = log
    return explained


def _explain_load(what: str, error: int, log: str, btf: str | None, kind: int) -> BpfError:
    if "vmlinux BTF" in log or "valid kernel BTF" in log or "failed to parse target BTF" in log:
        found = have_kernel_btf(btf or "/sys/kernel/btf/vmlinux")
        if not found:
            return BpfError(what, f"needs {found.what}: {found.why}", found.hint)
        return BpfError(what, f"{found.why} is no valid BTF", GIVE_BTF)
    if "legacy map definitions" in log:
        why = "its maps are in a section 'maps', of a form that libbpf does not read since version 1.0"
        return BpfError(what, why, 'write them as struct { __uint(type, …); … } NAME SEC(".maps")')
    missing = re.search(r"failed to find (?:kernel|module) BTF type ID of '([^']+)'", log)
    if missing:
        why = f"the kernel has no function or tracepoint {missing[1]!r} that can be attached to"
        return BpfError(what, why, hint(missing[1], kernel_functions()))
    unresolved = re.search(r"failed to resolve CO-RE relocation <\w+> \[\d+\] (.+?) \(\d", log)
    if unresolved:
        rejection = parse_rejection(log)
        member = re.fullmatch(r"((?:struct|union) \w+)\.(.+)", unresolved[1])
        why = (
            f"the kernel's {member[1]} has no field {member[2]!r}"
            if member
            else f"the kernel has no {unresolved[1]}"
        )
        if rejection and rejection.where:
            why = f"{why}, {rejection.where}"
        return BpfError(what, why, "use a newer kernel, or ask bpf_core_field_exists() before")
    helper = re.search(r"(?:unknown|invalid) func (\w+#\d+)", log)
    if helper:
        why = f"this kernel has no helper {helper[1]} for programs of this kind"
        return BpfError(what, why, "use a newer kernel, or leave the program out: autoload = False")
    if (found_map := re.search(r"map '([^']+)': failed to create: (.*)", log)) is not None:
        return BpfError(what, f"map {found_map[1]!r} can't be made: {found_map[2]}", _map_hint(error))
    if error == -errno.EPERM and parse_rejection(log) is None:
        return BpfError(what, *forbidden(kind))
    if error == -errno.E2BIG or "program is too large" in log:
        why = reason_of(log) or "it is too complex for the verifier"
        return BpfError(what, why, "bound its loops, or split it by tail calls")
    rejection = parse_rejection(log)
    if rejection:
        return BpfError(what, str(rejection), _remedy(rejection.reason))
    return BpfError(what, reason_of(log) or _native.bpf_strerror(error))


def _remedy(reason: str) -> str:
    """What most often helps against a verdict of the verifier."""
    tip = next((tip for pattern, tip in _REMEDIES if re.search(pattern, reason)), "")
    return f"{tip}; {_WHOLE_LOG}" if tip else _WHOLE_LOG


def forbidden(kind: int, security: Path = Path("/sys/kernel/security")) -> tuple[str, str]:
    """Why the kernel forbids programs of a type to who lacks no capability, and what to try.

    Args:
        kind: `enum bpf_prog_type`.
        security: where securityfs is mounted.
    """
    why = "the kernel forbids it, although no capability is missing"
    modules = _text(security / "lsm")
    if kind == ProgramType.LSM and modules and "bpf" not in modules.split(","):
        return f"{why}: its security modules are {modules}, without bpf", f"boot with lsm={modules},bpf"
    level = re.search(r"\[(\w+)\]", _text(security / "lockdown"))
    if level and level[1] != "none":
        return f"{why}: it is locked down for {level[1]}", f"boot without lockdown={level[1]}"
    if kind == ProgramType.LSM:
        return why, "LSM hooks take CONFIG_BPF_LSM=y, and bpf in /sys/kernel/security/lsm; use a tracepoint"
    return why, "look whether it is locked down: cat /sys/kernel/security/lockdown"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _map_hint(error: int) -> str:
    if error == -errno.EINVAL:
        return "the kernel may be too old for its kind or flags: `wbpf check` tells"
    return "make it smaller: maps[…].resize(entries=…)" if error in (-errno.ENOMEM, -errno.E2BIG) else ""


def kernel_functions() -> set[str]:
    """Names of the functions of this kernel and its modules; none where /proc/kallsyms can't be read."""
    try:
        lines = Path("/proc/kallsyms").read_text().splitlines()
    except OSError:
        return set()
    return {parts[2] for line in lines if (parts := line.split())[1] in "tTwW"}

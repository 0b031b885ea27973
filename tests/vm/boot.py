"""Run a command on another kernel: `run_in_vm`. See docs/vm.md."""

from __future__ import annotations

import platform
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.fetch import fetch_busybox, fetch_kernel, fetch_qemu
from tests.vm.image import Files, guest_modules, write_image
from tests.vm.kernels import kernel as kernel_of

#: The first line of what the guest says on its second serial port is this, the last one is its exit status.
BEGIN, END = "wbpf-vm-begin", "wbpf-vm-end"
# On 5.10, LSM programs attach but never run unless the command line names `bpf`.
COMMAND_LINE = "console=ttyS0 panic=-1 quiet mitigations=off lsm=lockdown,yama,bpf"
INIT = f"""#!/bin/sh
export PATH=/usr/bin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mkdir -p /proc /sys /tmp /root /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts pts /dev/pts
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in /modules/*.ko; do [ -e "$module" ] && insmod "$module"; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cd /root
echo {BEGIN} >/dev/ttyS1
sh /command </dev/null >/dev/ttyS1 2>&1
status=$?
printf '\\n{END} %d\\n' $status >/dev/ttyS1
poweroff -f
"""


@dataclass(frozen=True)
class Result:
    """What a command did in a guest.

    Attributes:
        output: standard output and standard error, together.
        status: exit status of the command.
        console: what the kernel said.
        seconds: from the start of QEMU to its end.
    """

    output: str
    status: int
    console: str
    seconds: float


class VmError(AssertionError):
    """A guest that did not come to the end of its command, twice."""


def run_in_vm(
    kernel: str,
    command: Sequence[str],
    *,
    files: Files | None = None,
    modules: Iterable[str] = (),
    timeout_s: float = 120,
) -> Result:
    """Boot a kernel of the list, run a command as root, and power off. Nothing of this machine is shared.

    Args:
        kernel: name in kernels.toml.
        command: program and arguments, found on /usr/bin and /bin; a shell script is `["sh", "-ec", TEXT]`.
        files: what the guest has besides busybox. Shared libraries that they are linked with come along.
            `guest_python()` gives this machine's Python with wbpf.
        modules: kernel modules to load first, with those they need. Built-in ones may be named.
        timeout_s: for boot and command. Software emulation: about 10 to 30 times slower than outside.

    Raises:
        VmError: the guest ended, or was ended, before its command did; tried twice.
    """
    if platform.machine() != "x86_64":
        pytest.skip(f"needs an x86-64 machine: this is {platform.machine()}")
    tree = fetch_kernel(kernel_of(kernel))
    qemu = fetch_qemu()
    given = dict(files or {}) | {"command": f"exec {shlex.join(command)}\n".encode()}
    with tempfile.TemporaryDirectory(prefix="wbpf-vm-") as folder:
        image = Path(folder) / "initramfs"
        size = write_image(image, fetch_busybox(), INIT, given | guest_modules(tree, modules))
        for _attempt in range(2):
            result = _boot(qemu, tree, image, 512 + 4 * size // 2**20, timeout_s)
            if result.status >= 0:
                return result
    tail = "\n".join((result.console + result.output).splitlines()[-30:])
    raise VmError(f"kernel {kernel} did not finish {command} in {result.seconds:.0f} s, twice:\n{tail}")


def _boot(qemu: Path, tree: Path, image: Path, memory_mib: int, timeout_s: float) -> Result:
    """One attempt. The status is negative if the guest never said it."""
    console, output = image.with_name("console"), image.with_name("output")
    libraries = ":".join(str(qemu / one / "x86_64-linux-gnu") for one in ("usr/lib", "lib"))
    (vmlinuz,) = tree.glob("**/vmlinuz*")
    started = time.monotonic()
    arguments = [
        *("-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(memory_mib)),
        *("-nodefaults", "-no-reboot", "-display", "none"),
        *("-L", qemu / "usr/share/qemu", "-L", qemu / "usr/share/seabios"),
        *("-serial", f"file:{console}", "-serial", f"file:{output}"),
        *("-kernel", vmlinuz, "-initrd", image, "-append", COMMAND_LINE),
    ]
    with subprocess.Popen(
        [qemu / "usr/bin/qemu-system-x86_64", *arguments],
        env={"LD_LIBRARY_PATH": libraries},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            said = "out of time"
        finally:
            process.kill()
    log = console.read_text(errors="replace") if console.exists() else ""
    text = output.read_text(errors="replace") if output.exists() else ""
    text = text.partition(f"{BEGIN}\n")[2]
    text, ended, status = text.rpartition(f"\n{END} ")
    return Result(
        output=text,
        status=int(status) if ended and status.strip().isdigit() else -1,
        console=f"{log}\n{said}".strip(),
        seconds=time.monotonic() - started,
    )

"""BTF: the types that kernels and eBPF objects describe themselves by.

`Btf` reads them and writes C, `BtfExt` reads the source lines and CO-RE relocations of an object, `encode`
writes BTF, `Resolver` tells what relocations become on a kernel. For kernels without BTF, `reduce` makes what
modules carry, and `find` looks for it there and in archives.
"""

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.core import Resolved, Resolver
from wbpf.bpf.btf.embedded import write_embedded
from wbpf.bpf.btf.encode import encode
from wbpf.bpf.btf.ext import BtfExt, Relocation, RelocationKind
from wbpf.bpf.btf.host import KernelName
from wbpf.bpf.btf.layout import Field
from wbpf.bpf.btf.reduce import reduce
from wbpf.bpf.btf.search import find
from wbpf.bpf.btf.types import Kind, Type

__all__ = [
    "Btf",
    "BtfExt",
    "Field",
    "KernelName",
    "Kind",
    "Relocation",
    "RelocationKind",
    "Resolved",
    "Resolver",
    "Type",
    "encode",
    "find",
    "reduce",
    "write_embedded",
]

"""BTF: the types that kernels and eBPF objects describe themselves by.

`Btf` reads them and writes C, `BtfExt` reads the source lines and CO-RE relocations of an object, `encode`
writes BTF.
"""

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.encode import encode
from wbpf.bpf.btf.ext import BtfExt, Relocation, RelocationKind
from wbpf.bpf.btf.layout import Field
from wbpf.bpf.btf.types import Kind, Type

__all__ = ["Btf", "BtfExt", "Field", "Kind", "Relocation", "RelocationKind", "Type", "encode"]

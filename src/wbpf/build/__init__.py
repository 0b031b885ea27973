"""From C to eBPF objects, and from a project's folder to one WebAssembly module.

`compile` and `strip` make objects, `headers` the headers that they need.
"""

from wbpf.build.compile import compile_bpf

__all__ = ["compile_bpf"]

"""eBPF applications packaged as WebAssembly modules.

`sections` reads and adds a module's custom sections, `manifest` is what a module says of itself, `params` are
its parameters.
"""

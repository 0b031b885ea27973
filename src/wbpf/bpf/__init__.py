"""eBPF: objects, their maps, and what this kernel can do.

`kernel` loads objects into the kernel, `rings` makes what their programs record a segment of this host,
`features` says what the kernel and the user running wBPF are able to do.
"""

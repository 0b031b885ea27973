"""eBPF without the kernel: programs are verified, translated to machine code and run in user space."""

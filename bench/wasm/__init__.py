"""What a guest on Wasmtime costs, beside the same program in C with libbpf."""

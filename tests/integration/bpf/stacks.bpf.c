/* The stack of a process where a function is entered, and of the kernel at a system call. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

volatile __s64 user_id = -1, kernel_id = -1;

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 64);
    __uint(key_size, 4);
    __uint(value_size, 127 * 8);
} stacks SEC(".maps");

SEC("uprobe") int on_entry(void *ctx)
{
    user_id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    return 0;
}

SEC("raw_tp/sys_enter") int on_call(void *ctx)
{
    if (kernel_id < 0)
        kernel_id = bpf_get_stackid(ctx, &stacks, 0);
    return 0;
}

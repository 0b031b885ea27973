/* Programs that are not proved to be safe. */
#include <wbpf/vmlinux.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct locked {
    struct bpf_spin_lock lock;
    __u32 number;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct locked);
} locks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

const volatile __u64 constant = 7;
__u64 variable;
volatile __u64 rounds;

/* The lookup's result is not compared with 0: right while the key is there. */
SEC("tp/syscalls/sys_enter_getpgid")
int counted(struct trace_event_raw_sys_enter *ctx)
{
    __u32 key = ctx->args[0];
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    *value += 1;
    return 0;
}

/* Which distance from a value it goes to is not known. */
SEC("tp/syscalls/sys_enter_getsid")
int beside(struct trace_event_raw_sys_enter *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        *(volatile __u64 *)((char *)value + ctx->args[0]) = 0;
    return 0;
}

SEC("tp/syscalls/sys_enter_sched_yield")
int to_a_variable(struct trace_event_raw_sys_enter *ctx)
{
    *(volatile __u64 *)((char *)&variable + ctx->args[0]) = 5;
    return 0;
}

SEC("tp/syscalls/sys_enter_sched_yield")
int to_a_constant(struct trace_event_raw_sys_enter *ctx)
{
    *(volatile __u64 *)((char *)&constant + ctx->args[0]) = 5;
    return 0;
}

SEC("tp/syscalls/sys_enter_sched_yield")
int to_a_lock(struct trace_event_raw_sys_enter *ctx)
{
    __u32 key = 0;
    struct locked *value = bpf_map_lookup_elem(&locks, &key);
    if (value)
        *(volatile __u32 *)((char *)value + ctx->args[0]) = 5;
    return 0;
}

SEC("tp/syscalls/sys_enter_sched_yield")
int endless(void *ctx)
{
    while (rounds != ~0ull)
        rounds = rounds + 1;
    return 0;
}

/* If it were stopped, the ring would wait for its record for ever. */
SEC("?tp/syscalls/sys_enter_sched_yield")
int reserves(struct trace_event_raw_sys_enter *ctx)
{
    __u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);
    if (!record)
        return 0;
    *record = *(volatile __u64 *)ctx->args[0];
    bpf_ringbuf_submit(record, 0);
    return 0;
}

SEC("perf_event")
int ticking(void *ctx)
{
    while (rounds != ~0ull)
        rounds = rounds + 1;
    return 0;
}

/* As far as may be read of the context of any tracepoint. */
SEC("tp/syscalls/sys_enter_getpgid")
int far(__u64 *ctx)
{
    if (ctx[1023] + 1)
        variable += 1;
    return 0;
}

/* The stack pointer that the thread goes on with. */
SEC("uprobe")
int to_a_register(__u64 *ctx)
{
    *(volatile __u64 *)&ctx[19] = 0x1234;
    return 0;
}

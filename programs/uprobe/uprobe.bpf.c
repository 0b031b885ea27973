#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>
#include <wbpf_regs.h>

struct call {
    u64 time;
    u64 duration_ns;
    u32 pid;
    u32 tid;
    s64 arguments[3];
    s64 result;
    char comm[16];
};
WBPF_EVENT(call);

struct start {
    u64 time;
    s64 arguments[3];
};

/* A call under way. With the stack in the key, a function may call itself. */
struct start_key {
    u64 thread;
    u64 stack;
};

const volatile u64 min_duration_ns; /* --min-duration */
u64 lost;

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, struct start_key);
    __type(value, struct start);
} starts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4 * 1024 * 1024);
} events SEC(".maps");

SEC("uprobe")
int on_call(struct pt_regs *ctx)
{
    if (wbpf_filtered())
        return 0;
    /* On x86-64 the return address is on the stack, and gone when the function has returned. */
    struct start_key key = {bpf_get_current_pid_tgid(), wbpf_stack(ctx) + (WBPF_IS_X86_64_ ? 8 : 0)};
    struct start start = {bpf_ktime_get_ns(), {wbpf_arg(ctx, 0), wbpf_arg(ctx, 1), wbpf_arg(ctx, 2)}};
    bpf_map_update_elem(&starts, &key, &start, BPF_ANY);
    return 0;
}

SEC("uretprobe")
int on_return(struct pt_regs *ctx)
{
    u64 now = bpf_ktime_get_ns();
    struct start_key key = {bpf_get_current_pid_tgid(), wbpf_stack(ctx)};
    struct start *start = bpf_map_lookup_elem(&starts, &key);
    if (!start)
        return 0;
    struct call *event = NULL;
    if (now - start->time >= min_duration_ns) {
        event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
        if (!event)
            __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    }
    if (event) {
        event->time = start->time;
        event->duration_ns = now - start->time;
        event->pid = key.thread >> 32;
        event->tid = key.thread;
        __builtin_memcpy(event->arguments, start->arguments, sizeof event->arguments);
        event->result = wbpf_return_value(ctx);
        bpf_get_current_comm(event->comm, sizeof event->comm);
        bpf_ringbuf_submit(event, 0);
    }
    bpf_map_delete_elem(&starts, &key);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

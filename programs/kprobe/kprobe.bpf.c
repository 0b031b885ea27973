#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>
#include <wbpf_regs.h>

struct unlinked {
    u64 time;
    u64 duration_ns;
    u32 pid;
    s32 result;
    char comm[16];
    char name[128];
};
WBPF_EVENT(unlinked);

struct start {
    u64 time;
    char name[128];
};

u64 lost;

/* Calls under way, by thread. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8192);
    __type(key, u64);
    __type(value, struct start);
} starts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");

/* int do_unlinkat(int folder, struct filename *name); it lets go of the name before it returns. */
SEC("kprobe/do_unlinkat")
int on_call(struct pt_regs *ctx)
{
    if (wbpf_filtered())
        return 0;
    u64 thread = bpf_get_current_pid_tgid();
    struct filename *file = (struct filename *)wbpf_arg(ctx, 1);
    struct start start = {.time = bpf_ktime_get_ns()};
    bpf_probe_read_kernel_str(start.name, sizeof start.name, BPF_CORE_READ(file, name));
    bpf_map_update_elem(&starts, &thread, &start, BPF_ANY);
    return 0;
}

SEC("kretprobe/do_unlinkat")
int on_return(struct pt_regs *ctx)
{
    u64 thread = bpf_get_current_pid_tgid();
    struct start *start = bpf_map_lookup_elem(&starts, &thread);
    if (!start)
        return 0;
    struct unlinked *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (event) {
        event->time = start->time;
        event->duration_ns = bpf_ktime_get_ns() - start->time;
        event->pid = thread >> 32;
        event->result = wbpf_return_value(ctx);
        bpf_get_current_comm(event->comm, sizeof event->comm);
        __builtin_memcpy(event->name, start->name, sizeof event->name);
        bpf_ringbuf_submit(event, 0);
    } else {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    }
    bpf_map_delete_elem(&starts, &thread);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

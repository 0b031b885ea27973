#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

struct open {
    u64 time;
    u32 pid;
    u32 uid;
    int result;
    u32 flags;
    char comm[16];
    char filename[256];
};
WBPF_EVENT(open);

const volatile bool failed_only;
u64 lost;

struct call {
    u64 time;
    const char *filename;
    u64 flags;
};

/* Calls that have begun, by thread. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, struct call);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");

static __always_inline int begin(const void *filename, u64 flags)
{
    if (wbpf_filtered())
        return 0;
    u32 thread = bpf_get_current_pid_tgid();
    struct call call = {bpf_ktime_get_ns(), filename, flags};
    bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
    return 0;
}

static __always_inline int end(long result)
{
    u32 thread = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &thread);
    if (!call)
        return 0;
    struct open *open = failed_only && result >= 0 ? NULL : bpf_ringbuf_reserve(&events, sizeof *open, 0);
    if (open) {
        open->time = call->time;
        open->pid = bpf_get_current_pid_tgid() >> 32;
        open->uid = bpf_get_current_uid_gid();
        open->result = result;
        open->flags = call->flags;
        bpf_get_current_comm(open->comm, sizeof open->comm);
        if (bpf_probe_read_user_str(open->filename, sizeof open->filename, call->filename) < 0)
            open->filename[0] = '\0';
        bpf_ringbuf_submit(open, 0);
    } else if (!failed_only || result < 0) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    }
    bpf_map_delete_elem(&calls, &thread);
    return 0;
}

/* arm64 has no open(). */
SEC("?tp/syscalls/sys_enter_open")
int on_open(struct trace_event_raw_sys_enter *ctx)
{
    return begin((const void *)ctx->args[0], ctx->args[1]);
}

SEC("?tp/syscalls/sys_exit_open")
int after_open(struct trace_event_raw_sys_exit *ctx)
{
    return end(ctx->ret);
}

SEC("tp/syscalls/sys_enter_openat")
int on_openat(struct trace_event_raw_sys_enter *ctx)
{
    return begin((const void *)ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_openat")
int after_openat(struct trace_event_raw_sys_exit *ctx)
{
    return end(ctx->ret);
}

SEC("tp/syscalls/sys_enter_openat2")
int on_openat2(struct trace_event_raw_sys_enter *ctx)
{
    return begin((const void *)ctx->args[1], 0);
}

SEC("tp/syscalls/sys_exit_openat2")
int after_openat2(struct trace_event_raw_sys_exit *ctx)
{
    return end(ctx->ret);
}

char LICENSE[] SEC("license") = "GPL";

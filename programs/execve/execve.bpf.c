#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

#define MOST_ARGUMENTS 10
#define ARGUMENT_BYTES 64

struct exec {
    u64 time;
    u32 pid;
    u32 uid;
    int result;
    u32 used; /* of `arguments` */
    char comm[16];
    char filename[128];
    char arguments[MOST_ARGUMENTS * ARGUMENT_BYTES];
};
WBPF_EVENT(exec);

const volatile bool failed_only;
u64 lost;

/* Calls that have begun, by thread. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, u32);
    __type(value, struct exec);
} calls SEC(".maps");

/* Where a call is put together: it is too large for the stack. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct exec);
} scratch SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_execve")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
    u32 zero = 0, thread = bpf_get_current_pid_tgid();
    struct exec *call = bpf_map_lookup_elem(&scratch, &zero);
    if (!call || wbpf_filtered())
        return 0;
    call->time = bpf_ktime_get_ns();
    call->pid = bpf_get_current_pid_tgid() >> 32;
    call->uid = bpf_get_current_uid_gid();
    call->used = 0;
    bpf_get_current_comm(call->comm, sizeof call->comm);
    __builtin_memset(call->filename, 0, sizeof call->filename);
    __builtin_memset(call->arguments, 0, sizeof call->arguments);
    bpf_probe_read_user_str(call->filename, sizeof call->filename, (const char *)ctx->args[0]);
    const char **arguments = (const char **)ctx->args[1];
    u32 at = 0;
    for (int i = 0; i < MOST_ARGUMENTS; i++) {
        const char *argument = NULL;
        bpf_probe_read_user(&argument, sizeof argument, &arguments[i]);
        if (!argument || at > sizeof call->arguments - ARGUMENT_BYTES)
            break;
        long bytes = bpf_probe_read_user_str(&call->arguments[at], ARGUMENT_BYTES, argument);
        if (bytes <= 0)
            break;
        at += bytes;
        if (at > 0 && at <= sizeof call->arguments - ARGUMENT_BYTES)
            call->arguments[at - 1] = ' '; /* in place of the NUL */
    }
    if (at > 0 && at <= sizeof call->arguments)
        call->arguments[at - 1] = '\0';
    call->used = at;
    bpf_map_update_elem(&calls, &thread, call, BPF_ANY);
    return 0;
}

SEC("tp/syscalls/sys_exit_execve")
int on_exit(struct trace_event_raw_sys_exit *ctx)
{
    u32 thread = bpf_get_current_pid_tgid();
    struct exec *call = bpf_map_lookup_elem(&calls, &thread);
    if (!call)
        return 0;
    call->result = ctx->ret;
    if ((!failed_only || ctx->ret < 0) && bpf_ringbuf_output(&events, call, sizeof *call, 0))
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    bpf_map_delete_elem(&calls, &thread);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

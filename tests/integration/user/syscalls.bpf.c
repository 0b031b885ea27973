#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

__u64 opened, after, entries, exits, first, raw, execs, pid, tid;
__u64 by_number[512];
char name[16], file[64];

SEC("tp/syscalls/sys_enter_openat")
int on_openat(struct trace_event_raw_sys_enter *ctx)
{
    __sync_fetch_and_add(&opened, 1);
    pid = bpf_get_current_pid_tgid() >> 32;
    tid = (__u32)bpf_get_current_pid_tgid();
    bpf_get_current_comm(name, sizeof name);
    bpf_probe_read_user_str(file, sizeof file, (const char *)ctx->args[1]);
    return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int after_openat(struct trace_event_raw_sys_exit *ctx)
{
    __sync_fetch_and_add(&after, 1);
    return 0;
}

SEC("tp/syscalls/sys_exit_execve")
int after_execve(struct trace_event_raw_sys_exit *ctx)
{
    if (ctx->ret == 0)
        __sync_fetch_and_add(&execs, 1);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int on_any(struct trace_event_raw_sys_enter *ctx)
{
    __sync_fetch_and_add(&by_number[ctx->id & 511], 1);
    __sync_fetch_and_add(&entries, 1);
    return 0;
}

SEC("raw_tp/sys_enter")
int on_raw(struct bpf_raw_tracepoint_args *ctx)
{
    __u64 registers[21] = {};
    if (bpf_probe_read_kernel(registers, sizeof registers, (void *)ctx->args[0]))
        return 0;
    if (ctx->args[1] == 121 && registers[15] == 121)
        raw = registers[14]; /* rdi of getpgid */
    return 0;
}

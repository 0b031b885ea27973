#include "common.h"

/* Of an old clang's time: maps in .maps, contexts by hand, no CO-RE. */
struct enter {
    u64 unused;
    long id;
    unsigned long args[6];
};

struct exit {
    u64 unused;
    long id, ret;
};

struct event {
    u64 ts;
    u32 pid, uid;
    int ret, flags;
    char comm[16], fname[255];
};

const volatile u32 targ_tgid = 0;

struct args {
    const char *fname;
    int flags;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, struct args);
} start SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, sizeof(u32));
    __uint(value_size, sizeof(u32));
} events SEC(".maps");

static __always_inline int enter(const char *fname, int flags)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 pid = id;
    struct args args = {fname, flags};
    if (targ_tgid && targ_tgid != id >> 32)
        return 0;
    bpf_map_update_elem(&start, &pid, &args, 0);
    return 0;
}

static __always_inline int leave(struct exit *ctx)
{
    u32 pid = bpf_get_current_pid_tgid();
    struct event event = {};
    struct args *args = bpf_map_lookup_elem(&start, &pid);
    if (!args)
        return 0;
    event.pid = bpf_get_current_pid_tgid() >> 32;
    event.ret = ctx->ret;
    event.flags = args->flags;
    bpf_get_current_comm(event.comm, sizeof event.comm);
    bpf_probe_read_user_str(event.fname, sizeof event.fname, args->fname);
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof event);
    bpf_map_delete_elem(&start, &pid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct enter *ctx)
{
    return enter((const char *)ctx->args[1], (int)ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_openat")
int exit_openat(struct exit *ctx)
{
    return leave(ctx);
}

#ifdef __OPEN
SEC("tracepoint/syscalls/sys_enter_open")
int enter_open(struct enter *ctx)
{
    return enter((const char *)ctx->args[0], (int)ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_exit_open")
int exit_open(struct exit *ctx)
{
    return leave(ctx);
}
#endif

/* Stacks of one process, at each kind of place. */
#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

#define USER_STACK 256
#define FRAMES     16

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 1024);
    __uint(key_size, 4);
    __uint(value_size, FRAMES * 8);
} stacks SEC(".maps");

const volatile __u32 process = 0;
__u64 at_entry[FRAMES], at_leave[FRAMES], at_usdt[FRAMES], at_call[FRAMES], at_called[FRAMES], at_raw[FRAMES],
    at_site[FRAMES];
__s64 ids[7];

static __always_inline void take(void *ctx, __u64 *to, __s64 *id)
{
    if (bpf_get_current_pid_tgid() >> 32 != process)
        return;
    bpf_get_stack(ctx, to, FRAMES * 8, USER_STACK);
    *id = bpf_get_stackid(ctx, &stacks, USER_STACK);
}

#define PLACE(section, name, number)                                                                         \
    SEC(section) int on_##name(void *ctx)                                                                    \
    {                                                                                                        \
        take(ctx, at_##name, &ids[number]);                                                                  \
        return 0;                                                                                            \
    }

PLACE("uprobe", entry, 0)
PLACE("uretprobe", leave, 1)
PLACE("usdt", usdt, 2)
PLACE("tp/syscalls/sys_enter_getpgid", call, 3)
PLACE("tp/syscalls/sys_exit_getpgid", called, 4)

SEC("raw_tp/sys_enter") int on_raw(struct bpf_raw_tracepoint_args *ctx)
{
    if (ctx->args[1] == 121)
        take(ctx, at_raw, &ids[5]);
    return 0;
}

#if defined(IN_USER_SPACE)
PLACE("probe/site", site, 6)
#endif

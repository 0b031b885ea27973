/* Every system call of processes that trace, while they work on a trace. */
#include <wbpf/kernel.bpf.h>

#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

struct call {
    uint64_t number;
};
WBPF_SCHEMA(syscall_enter, "syscall.enter number:u64");

SEC("raw_tp/sys_enter") int on_enter(uint64_t *ctx)
{
    struct wbpf_now now;
    if (wbpf_now(&now) != WBPF_IN_TRACE || !wbpf_enabled(&now, WBPF_LEVEL_INFO))
        return 0;
    struct wbpf_record record;
    struct call *call = wbpf_reserve(&record, sizeof *call);
    if (!call)
        return 0;
    call->number = ctx[1];
    wbpf_commit(ctx, &record, &now, WBPF_KIND_EVENT, WBPF_LEVEL_INFO, syscall_enter());
    return 0;
}

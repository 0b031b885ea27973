/* What the site of runner.c gives. */
#include <wbpf/vmlinux.h>

#include <wbpf/probe.bpf.h>
#include <wbpf/program.bpf.h>

struct {
    __u64 args[WBPF_PROBE_ARGS_MOST], count, hits;
} seen;

SEC("probe/hit") int on_hit(struct wbpf_probe_context *context)
{
    for (int i = 0; i < WBPF_PROBE_ARGS_MOST; i++)
        seen.args[i] = context->args[i];
    seen.count = context->count;
    seen.hits++;
    return 0;
}

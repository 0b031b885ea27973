#include "common.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} calls SEC(".maps");

static int say(u32 what)
{
    u32 *event = bpf_ringbuf_reserve(&calls, 4, 0);
    if (!event)
        return 0;
    *event = what;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("uprobe/" TRACED ":uprobed_add")
int uprobe_add(void *ctx)
{
    return say(1);
}

SEC("uretprobe/" TRACED ":uprobed_add")
int uretprobe_add(void *ctx)
{
    return say(2);
}

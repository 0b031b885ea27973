#include <wbpf/vmlinux.h>

#include <wbpf/probe.bpf.h>
#include <wbpf/program.bpf.h>

__u64 count, sum;
__u64 slots[64];
__u64 seen[9];

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 100);
    __type(key, __u64);
    __type(value, __u64);
} numbers SEC(".maps");

SEC("probe/order")
int order(struct wbpf_probe_context *ctx)
{
    __u64 value = ctx->args[0];
    __u32 slot = 0;

    for (int bit = 5; bit >= 0; bit--)
        if (value >> (1 << bit)) {
            slot += 1 << bit;
            value >>= 1 << bit;
        }
    __sync_fetch_and_add(&slots[slot & 63], 1);
    __sync_fetch_and_add(&count, 1);
    __sync_fetch_and_add(&sum, ctx->args[0]);
    return 0;
}

SEC("probe/all")
int all(struct wbpf_probe_context *ctx)
{
    for (int i = 0; i < 8; i++)
        seen[i] = ctx->args[i];
    seen[8] = ctx->count;
    return 0;
}

SEC("probe/keyed")
int keyed(struct wbpf_probe_context *ctx)
{
    __u64 key = ctx->args[0], none = 0;

    bpf_map_update_elem(&numbers, &key, &none, BPF_NOEXIST);
    __u64 *value = bpf_map_lookup_elem(&numbers, &key);
    if (value)
        __sync_fetch_and_add(value, 1);
    return 0;
}

SEC("uprobe")
int other(void *ctx)
{
    return 0;
}

#include "common.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, u64);
} packets SEC(".maps");

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    u32 key = 0;
    u64 *count = bpf_map_lookup_elem(&packets, &key);
    if (count && data + 42 <= end && *(unsigned char *)(data + 23) == 17) /* UDP */
        __sync_fetch_and_add(count, 1);
    return XDP_PASS;
}

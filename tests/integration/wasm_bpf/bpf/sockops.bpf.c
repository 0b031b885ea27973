#include "common.h"

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 4);
    __type(key, u32);
    __type(value, u32); /* 4 bytes: on each CPU it takes 8 */
} ops SEC(".maps");

SEC("sockops")
int count_ops(struct bpf_sock_ops *skops)
{
    u32 key = skops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB    ? 0
              : skops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB ? 1
                                                                 : 2;
    u32 *count = bpf_map_lookup_elem(&ops, &key);
    if (count)
        ++*count;
    return 1;
}

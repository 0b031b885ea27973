#include "common.h"

/* Maps as libbpf had them before 1.0. */
struct bpf_map_def {
    unsigned int type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def SEC("maps") counts = {BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0};

SEC("tracepoint/syscalls/sys_enter_getpgid")
int count(void *ctx)
{
    u32 key = 0;
    u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        ++*value;
    return 0;
}

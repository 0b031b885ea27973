/* One operation on a map, ROUNDS times a run, for either backend. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

#define ROUNDS 100

char LICENSE[] SEC("license") = "GPL";

#define MAP(name, kind, entries, flags, key_type)                                                            \
    struct {                                                                                                 \
        __uint(type, BPF_MAP_TYPE_##kind);                                                                   \
        __uint(max_entries, entries);                                                                        \
        __uint(map_flags, flags);                                                                            \
        __type(key, key_type);                                                                               \
        __type(value, __u64);                                                                                \
    } name SEC(".maps")

struct prefix {
    __u32 bits, address;
};

MAP(hash, HASH, 1024, 0, __u32);
MAP(percpu_hash, PERCPU_HASH, 1024, 0, __u32);
MAP(lru_hash, LRU_HASH, 1024, 0, __u32);
MAP(array, ARRAY, 1024, 0, __u32);
MAP(percpu_array, PERCPU_ARRAY, 1024, 0, __u32);
MAP(lpm_trie, LPM_TRIE, 1024, BPF_F_NO_PREALLOC, struct prefix);

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 64);
    __type(value, __u64);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 24);
} ringbuf SEC(".maps");

__u64 sum;

#define LOOKUP(map)                                                                                          \
    SEC("xdp") int map##_lookup(struct xdp_md *ctx)                                                          \
    {                                                                                                        \
        for (__u32 i = 0; i < ROUNDS; i++) {                                                                 \
            __u32 key = i * 7 & 1023;                                                                        \
            __u64 *value = bpf_map_lookup_elem(&map, &key);                                                  \
            if (value)                                                                                       \
                *value += i;                                                                                 \
        }                                                                                                    \
        return 0;                                                                                            \
    }

#define UPDATE(map)                                                                                          \
    SEC("xdp") int map##_update(struct xdp_md *ctx)                                                          \
    {                                                                                                        \
        for (__u64 i = 0; i < ROUNDS; i++) {                                                                 \
            __u32 key = i * 7 & 1023;                                                                        \
            __u64 value = i;                                                                                 \
            bpf_map_update_elem(&map, &key, &value, BPF_ANY);                                                \
        }                                                                                                    \
        return 0;                                                                                            \
    }

#define DELETE(map)                                                                                          \
    SEC("xdp") int map##_delete(struct xdp_md *ctx)                                                          \
    {                                                                                                        \
        for (__u64 i = 0; i < ROUNDS; i++) {                                                                 \
            __u32 key = i * 7 & 1023;                                                                        \
            __u64 value = i;                                                                                 \
            bpf_map_delete_elem(&map, &key);                                                                 \
            bpf_map_update_elem(&map, &key, &value, BPF_ANY);                                                \
        }                                                                                                    \
        return 0;                                                                                            \
    }

LOOKUP(hash)
LOOKUP(percpu_hash)
LOOKUP(lru_hash)
LOOKUP(array)
LOOKUP(percpu_array)
UPDATE(hash)
UPDATE(percpu_hash)
UPDATE(lru_hash)
UPDATE(array)
DELETE(hash)

SEC("xdp") int lpm_trie_lookup(struct xdp_md *ctx)
{
    for (__u32 i = 0; i < ROUNDS; i++) {
        struct prefix key = {32, i * 2654435761u};
        __u64 *value = bpf_map_lookup_elem(&lpm_trie, &key);
        if (value)
            *value += i;
    }
    return 0;
}

SEC("xdp") int queue_push_pop(struct xdp_md *ctx)
{
    for (__u64 i = 0; i < ROUNDS; i++) {
        __u64 value = i;
        bpf_map_push_elem(&queue, &value, 0);
        bpf_map_pop_elem(&queue, &value);
    }
    return 0;
}

SEC("xdp") int ringbuf_reserve_submit(struct xdp_md *ctx)
{
    for (__u64 i = 0; i < ROUNDS; i++) {
        __u64 *record = bpf_ringbuf_reserve(&ringbuf, 64, 0);
        if (!record)
            return 1;
        *record = i;
        bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    }
    return 0;
}

#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

#define MAP(name, kind, key_type, value_type, entries, flags)                                                \
    struct {                                                                                                 \
        __uint(type, kind);                                                                                  \
        __uint(max_entries, entries);                                                                        \
        __uint(map_flags, flags);                                                                            \
        __type(key, key_type);                                                                               \
        __type(value, value_type);                                                                           \
    } name SEC(".maps")

MAP(hash, BPF_MAP_TYPE_HASH, u32, u64, 512, 0);
MAP(lru, BPF_MAP_TYPE_LRU_HASH, u32, u64, 512, 0);
MAP(percpu, BPF_MAP_TYPE_PERCPU_ARRAY, u32, u64, 4, 0);
MAP(shared, BPF_MAP_TYPE_ARRAY, u32, u64, 1024, BPF_F_MMAPABLE);

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 3);
    __type(value, u64);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} first SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} second SEC(".maps");

struct order {
    u64 number;
    u32 records, ring;
};

const volatile u64 factor = 1;
u64 runs;

SEC("syscall")
int fill(struct order *ctx)
{
    u64 times = ctx->number * factor;
    u32 key = ctx->number;

    runs++;
    bpf_map_update_elem(&hash, &key, &times, BPF_ANY);
    bpf_map_update_elem(&shared, &key, &times, BPF_ANY);
    for (u32 i = 0; i < 16 && i < ctx->records; i++) {
        u64 record[2] = {ctx->number, i};
        if (bpf_ringbuf_output(ctx->ring ? (void *)&second : (void *)&first, record, sizeof record, 0))
            return -(int)i - 1;
    }
    return ctx->records;
}

char LICENSE[] SEC("license") = "GPL";

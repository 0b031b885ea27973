/* Maps of every kind, and programs that are run once to fill and empty them. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

#define MAP(name, kind, entries, key_type, value_type) \
    struct {                                           \
        __uint(type, BPF_MAP_TYPE_##kind);             \
        __uint(max_entries, entries);                  \
        __type(key, key_type);                         \
        __type(value, value_type);                     \
    } name SEC(".maps")

struct route {
    __u32 prefix_bits;
    __u8 address[4];
};

MAP(hash, HASH, 64, __u32, __u64);
MAP(array, ARRAY, 8, __u32, __u64);
MAP(lru, LRU_HASH, 64, __u32, __u64);
MAP(per_cpu_hash, PERCPU_HASH, 8, __u32, __u32);
MAP(per_cpu_array, PERCPU_ARRAY, 2, __u32, __u64);
MAP(per_cpu_lru, LRU_PERCPU_HASH, 64, __u32, __u64);
MAP(devices, DEVMAP, 4, __u32, __u32);
MAP(device_hash, DEVMAP_HASH, 4, __u32, __u32);
MAP(cpus, CPUMAP, 4, __u32, __u32);
MAP(cgroups, CGROUP_ARRAY, 2, __u32, __u32);
MAP(sockets, SOCKMAP, 4, __u32, __u32);
MAP(socket_hash, SOCKHASH, 4, __u32, __u32);

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 8);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct route);
    __type(value, __u32);
} routes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 3);
    __type(value, __u32);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, 3);
    __type(value, __u32);
} stack SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
    __uint(max_entries, 100);
    __type(value, __u32);
} bloom SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u32);
} tails SEC(".maps");

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
} template SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} array_of_maps SEC(".maps") = {.values = {&template}};

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} hash_of_maps SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u64);
} task_storage SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u64);
} socket_storage SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_INODE_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u64);
} inode_storage SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u64);
} cgroup_storage SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} other_ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} perf SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
    __uint(max_entries, 4096);
} commands SEC(".maps");

struct record {
    __u64 number;
    __u8 rest[36];
} __attribute__((packed));

struct order {
    __u32 amount, first;
};

struct filling {
    void *ctx;
    __u64 first;
    int refused;
};

static long fill_one(__u32 i, void *context)
{
    struct filling *filling = context;
    struct record *record = bpf_ringbuf_reserve(&ring, sizeof *record, 0);
    if (!record) {
        filling->refused++;
        return 0;
    }
    record->number = filling->first + i;
    if (i % 4 == 3)
        bpf_ringbuf_discard(record, 0);
    else
        bpf_ringbuf_submit(record, 0);
    return 0;
}

/* Fill the ring with numbered records; every fourth is discarded. Returns how many there was no room for. */
SEC("syscall") int fill(struct order *order)
{
    struct filling filling = {.first = order->first};
    bpf_loop(order->amount, fill_one, &filling, 0);
    return filling.refused;
}

SEC("syscall") int fill_other(struct order *order)
{
    __u64 number = order->first;
    return bpf_ringbuf_output(&other_ring, &number, sizeof number, 0) ? 1 : 0;
}

static long fill_one_perf(__u32 i, void *context)
{
    struct filling *filling = context;
    __u64 number = filling->first + i;
    if (bpf_perf_event_output(filling->ctx, &perf, BPF_F_CURRENT_CPU, &number, sizeof number))
        filling->refused++;
    return 0;
}

SEC("raw_tp/sys_enter") int fill_perf(__u64 *ctx)
{
    struct filling filling = {.ctx = ctx, .first = ctx[1]};
    bpf_loop(ctx[0], fill_one_perf, &filling, 0);
    return filling.refused;
}

static long take(struct bpf_dynptr *command, void *context)
{
    __u32 *add = bpf_dynptr_data(command, 0, sizeof *add);
    if (add)
        *(__u64 *)context += *add;
    return 0;
}

/* The sum of the commands that wait. */
SEC("syscall") int obey(void *ctx)
{
    __u64 sum = 0;
    bpf_user_ringbuf_drain(&commands, take, &sum, 0);
    return (int)sum;
}

SEC("xdp") int answer(struct xdp_md *ctx)
{
    return 42;
}

SEC("xdp") int call(struct xdp_md *ctx)
{
    bpf_tail_call(ctx, &tails, 1);
    return 7;
}

SEC("xdp") int look_inside(struct xdp_md *ctx)
{
    __u32 zero = 0, one = 1;
    struct inner *inner = bpf_map_lookup_elem(&array_of_maps, &one);
    __u64 *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;
    return value ? (int)*value : -1;
}

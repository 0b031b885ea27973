/* Programs that run in user space and in the kernel, with the same results. */
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

MAP(counts, HASH, 64, __u32, __u64);
MAP(bytes_seen, ARRAY, 256, __u32, __u64);
MAP(per_cpu, PERCPU_ARRAY, 2, __u32, __u64);
MAP(recent, LRU_HASH, 64, __u32, __u64);

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} tails SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 8);
    __type(value, __u32);
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} template SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} perf SEC(".maps");

struct account {
    __u32 number;
    struct bpf_spin_lock lock;
    __u64 sum, count;
};

MAP(accounts, HASH, 4, __u32, struct account);

const volatile __u32 step = 1;
__u64 total;
__u32 seed = 7;
char text[16];

static __attribute__((noinline)) __u32 mixed(__u32 a, __u32 b)
{
    return a * 31 + (b ^ seed);
}

SEC("xdp") int count(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 8 > end)
        return 1;
    __u32 key = mixed(data[0], data[1]) % 8;
    __u64 one = step, *there = bpf_map_lookup_elem(&counts, &key);
    if (there)
        __sync_fetch_and_add(there, step);
    else
        bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);
    for (int i = 0; i < 8; i++) {
        __u32 index = data[i];
        __u64 *seen = bpf_map_lookup_elem(&bytes_seen, &index);
        if (seen)
            *seen += 1;
        total += index;
    }
    data[7] = key;
    bpf_map_update_elem(&recent, &key, &one, 0);
    return 2 + key;
}

static long add(struct bpf_map *map, __u32 *key, __u64 *value, __u64 *sum)
{
    *sum += *key + *value;
    return 0;
}

static long square(__u32 i, __u64 *sum)
{
    *sum += i * i;
    return i == 50;
}

SEC("xdp") int helpers(struct xdp_md *ctx)
{
    __u64 sum = 0;
    __u32 zero = 0, five = 5, out = 0, slot = 1;
    __u64 value = 40;
    bpf_map_update_elem(&counts, &five, &value, BPF_ANY);
    bpf_for_each_map_elem(&counts, add, &sum, 0);
    sum += bpf_loop(100, square, &sum, 0);
    __u64 *mine = bpf_map_lookup_elem(&per_cpu, &slot);
    if (mine)
        sum += ++*mine;
    for (int i = 0; i < 10; i++) {
        __u32 pushed = i;
        sum += bpf_map_push_elem(&queue, &pushed, i == 9 ? BPF_EXIST : 0) ? 1000 : 0;
    }
    sum += bpf_map_pop_elem(&queue, &out) ? 5000 : out;
    sum += bpf_map_peek_elem(&queue, &out) ? 5000 : out;
    void *inner = bpf_map_lookup_elem(&outer, &five);
    if (inner) {
        __u64 *found = bpf_map_lookup_elem(inner, &zero);
        if (found)
            sum += *found;
    }
    sum += bpf_map_delete_elem(&counts, &five) ? 7000 : 0;
    sum += bpf_map_delete_elem(&counts, &five) == -2 ? 1 : 9000;
    sum += bpf_map_delete_elem(&bytes_seen, &five) == -22 ? 1 : 9000;
    return sum;
}

struct event {
    __u32 number, kind;
    char name[8];
};

SEC("xdp") int record(struct xdp_md *ctx)
{
    struct event *event = bpf_ringbuf_reserve(&ring, sizeof *event, 0);
    if (!event)
        return -1;
    event->number = total;
    event->kind = 3;
    __builtin_memcpy(event->name, "written", 8);
    if (total % 3 == 2)
        bpf_ringbuf_discard(event, 0);
    else
        bpf_ringbuf_submit(event, 0);
    total++;
    __u32 number = 9;
    return bpf_ringbuf_output(&ring, &number, 4, 0);
}

SEC("xdp") int leaf(struct xdp_md *ctx)
{
    return 77;
}

SEC("xdp") int again(struct xdp_md *ctx)
{
    total++;
    bpf_tail_call(ctx, &tails, 1);
    return 55;
}

SEC("xdp") int call(struct xdp_md *ctx)
{
    bpf_tail_call(ctx, &tails, 3);
    bpf_tail_call(ctx, &tails, 9);
    bpf_tail_call(ctx, &tails, 0);
    return 11;
}

SEC("xdp") int emit(struct xdp_md *ctx)
{
    __u64 number = ++total;
    return bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &number, sizeof number);
}

SEC("xdp") int memory(struct xdp_md *ctx)
{
    char copy[16] = "";
    __u64 out = 1;
    int result = bpf_probe_read_kernel(&out, sizeof out, (void *)16) < 0 && out == 0 ? 1 : 0;
    result += bpf_probe_read_kernel_str(copy, sizeof copy, text) * 10;
    result += bpf_probe_read_kernel_str(copy, 3, text) * 100;
    result += bpf_strncmp(copy, sizeof copy, "se") == 0 ? 1000 : 0;
    result += bpf_strncmp(copy, sizeof copy, "sf") < 0 ? 2000 : 0;
    return result;
}

SEC("xdp") int book(struct xdp_md *ctx)
{
    __u32 key = 1;
    struct account fresh = {.number = 5}, *there = bpf_map_lookup_elem(&accounts, &key);
    if (!there)
        return bpf_map_update_elem(&accounts, &key, &fresh, 0);
    bpf_spin_lock(&there->lock);
    there->sum += 10;
    there->count++;
    bpf_spin_unlock(&there->lock);
    fresh.sum = there->sum;
    fresh.count = there->count;
    return bpf_map_update_elem(&accounts, &key, &fresh, BPF_F_LOCK | BPF_EXIST);
}

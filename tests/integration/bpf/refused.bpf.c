/* Programs that user space refuses, each for its reason. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

__u64 out, limit;

SEC("?xdp") int no_comparison(struct xdp_md *ctx)
{
    __u8 *data = (__u8 *)(long)ctx->data;
    out = data[12];
    return XDP_PASS;
}

SEC("?xdp") int no_null_check(struct xdp_md *ctx)
{
    __u32 key = 1;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    *value += 1;
    return XDP_PASS;
}

static __attribute__((noinline)) int inner(__u64 *there, int at)
{
    return there[at];
}

SEC("?xdp") int in_a_function(struct xdp_md *ctx)
{
    __u64 here[2] = {1, 2};
    return inner(here, ctx->rx_queue_index & 3);
}

SEC("?xdp") int endless(struct xdp_md *ctx)
{
    for (__u64 i = 0; i != limit; i += 3)
        out += bpf_get_prandom_u32();
    return XDP_PASS;
}

SEC("?xdp") int leaks(struct xdp_md *ctx)
{
    __u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);
    if (!record)
        return XDP_DROP;
    *record = 1;
    return XDP_PASS;
}

SEC("?xdp") int no_helper(struct xdp_md *ctx)
{
    return bpf_jiffies64();
}

SEC("?socket") int not_its_helper(struct __sk_buff *ctx)
{
    return bpf_skb_change_tail(ctx, 100, 0);
}

SEC("?socket") int not_its_field(struct __sk_buff *ctx)
{
    return ctx->remote_port;
}

SEC("?tracepoint/sched/sched_switch") int far(__u64 *ctx)
{
    return ctx[1024];
}

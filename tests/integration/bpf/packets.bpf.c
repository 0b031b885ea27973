/* Programs for packets that do what a list of steps says, in user space and in the kernel. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

#define STEPS 8

unsigned long long load_byte(void *skb, unsigned long long at) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long at) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long at) asm("llvm.bpf.load.word");

enum what {
    end,
    load_bytes,
    load_relative,
    direct_read,
    direct_write,
    go_to, /* all, or nearly */
    store_bytes,
    l3_replace,
    l4_replace,
    difference,
    change_tail,
    change_head,
    pull_data,
    change_type,
    set_hash,
    fields,
    set_fields,
    adjust_head = 32,
    adjust_tail,
    adjust_meta,
    store_meta,
    length,
    load_buffer,
    store_buffer,
};

struct step {
    __u32 what, offset, from, to;
    __u64 flags;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, STEPS);
    __type(key, __u32);
    __type(value, struct step);
} steps SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, STEPS);
    __type(key, __u32);
    __type(value, __u64);
} results SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_CPUMAP);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} processors SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} devices SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} hashed SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} perf SEC(".maps");

__u32 verdict, place;
__u64 bytes[2], sums[2];

static __always_inline void note(__u32 i, __u64 result)
{
    bpf_map_update_elem(&results, &i, &result, 0);
}

#define IN_PACKET(at, size) ((at) + (size) <= (__u8 *)(long)ctx->data_end)

SEC("tc") int on_buffer(struct __sk_buff *ctx)
{
    for (__u32 i = 0; i < STEPS; i++) {
        __u32 key = i;
        struct step *step = bpf_map_lookup_elem(&steps, &key);
        if (!step || step->what == end)
            break;
        __u8 *at = (__u8 *)(long)ctx->data + (step->offset & 0x3ff);
        __u64 result = 0;
        switch (step->what) {
        case load_bytes:
            bytes[0] = bytes[1] = 0;
            result = bpf_skb_load_bytes(ctx, step->offset, bytes, (step->to & 15) + 1) ^ bytes[0] ^ bytes[1];
            break;
        case load_relative:
            result = bpf_skb_load_bytes_relative(ctx, step->offset, bytes, 7, step->from) ^ bytes[0];
            break;
        case direct_read:
            if (IN_PACKET(at, 4))
                result = *(__u32 *)at;
            break;
        case direct_write:
            if (IN_PACKET(at, 2))
                *(__u16 *)at = step->to;
            break;
        case store_bytes:
            bytes[0] = step->flags ^ step->from;
            result = bpf_skb_store_bytes(ctx, step->offset, bytes, (step->to & 7) + 1, step->flags);
            break;
        case l3_replace:
            result = bpf_l3_csum_replace(ctx, step->offset, step->from, step->to, step->flags);
            break;
        case l4_replace:
            result = bpf_l4_csum_replace(ctx, step->offset, step->from, step->to, step->flags);
            break;
        case difference:
            sums[0] = step->flags;
            sums[1] = (__u64)step->to << 32 | step->offset;
            result =
                bpf_csum_diff((__be32 *)sums, step->from & 12, (__be32 *)sums, step->to & 15, step->from);
            break;
        case change_tail:
            result = bpf_skb_change_tail(ctx, step->to, step->flags);
            break;
        case change_head:
            result = bpf_skb_change_head(ctx, step->to, step->flags);
            break;
        case pull_data:
            result = bpf_skb_pull_data(ctx, step->to);
            break;
        case change_type:
            result = bpf_skb_change_type(ctx, step->to);
            break;
        case set_hash:
            result = bpf_set_hash(ctx, step->to);
            break;
        case fields:
            result = ctx->len + ((__u64)ctx->protocol << 32) + (ctx->pkt_type << 16) + ctx->mark +
                     ctx->cb[1] + ctx->priority + ctx->ifindex + ctx->hash + ctx->vlan_present +
                     ctx->tc_index + *(__u8 *)&ctx->mark + ((__u16 *)&ctx->mark)[1] + ctx->tstamp;
            break;
        case set_fields:
            ctx->mark = step->from;
            ctx->cb[1] = step->to;
            ctx->priority = step->offset;
            ctx->tc_index = 7;
            break;
        case go_to:
            result = bpf_redirect(step->offset, step->flags);
            break;
        }
        note(i, result);
    }
    return verdict;
}

SEC("socket") int on_filter(struct __sk_buff *ctx)
{
    __u64 sum = ctx->len + ctx->pkt_type * 3;
    for (__u32 i = 0; i < STEPS; i++) {
        __u32 key = i;
        struct step *step = bpf_map_lookup_elem(&steps, &key);
        if (!step || step->what == end)
            break;
        __u64 result = step->what == load_relative
                           ? bpf_skb_load_bytes_relative(ctx, step->offset, bytes, 5, step->from)
                           : bpf_skb_load_bytes(ctx, step->offset, bytes, (step->to & 15) + 1);
        note(i, result ^ bytes[0]);
    }
    ctx->cb[2] = sum;
    bytes[1] = bpf_ntohs(ctx->protocol);
    return sum;
}

SEC("socket") int on_legacy(struct __sk_buff *ctx)
{
    __u32 from = place;
    __u64 sum = load_byte(ctx, 0) + load_half(ctx, 3) + load_word(ctx, 5);
    sum += load_byte(ctx, from) + (load_half(ctx, from + 1) << 20) + (load_word(ctx, from + 7) << 12);
    sum += load_half(ctx, (__s64)-0x100000 + 2) + load_byte(ctx, (__s64)-0x200000 + 13);
    return sum ^ sum >> 32;
}

SEC("xdp") int on_frame(struct xdp_md *ctx)
{
    for (__u32 i = 0; i < STEPS; i++) {
        __u32 key = i;
        struct step *step = bpf_map_lookup_elem(&steps, &key);
        if (!step || step->what == end)
            break;
        __u8 *data = (__u8 *)(long)ctx->data, *at = data + (step->offset & 0x3ff);
        __u32 *meta = (__u32 *)(long)ctx->data_meta;
        __u64 result = 0;
        switch (step->what) {
        case direct_read:
            if (IN_PACKET(at, 4))
                result = *(__u32 *)at;
            break;
        case direct_write:
            if (IN_PACKET(at, 2))
                *(__u16 *)at = step->to;
            break;
        case difference:
            sums[0] = step->flags;
            result = bpf_csum_diff(0, 0, (__be32 *)sums, 8, step->from);
            break;
        case adjust_head:
            result = bpf_xdp_adjust_head(ctx, step->to);
            break;
        case adjust_tail:
            result = bpf_xdp_adjust_tail(ctx, step->to);
            break;
        case adjust_meta:
            result = bpf_xdp_adjust_meta(ctx, step->to);
            break;
        case store_meta:
            if ((__u8 *)(meta + 1) <= data) {
                result = *meta ^ step->to;
                *meta = step->to;
            }
            break;
        case length:
            result = bpf_xdp_get_buff_len(ctx) + ctx->ingress_ifindex + ctx->rx_queue_index;
            break;
        case load_buffer:
            result = bpf_xdp_load_bytes(ctx, step->offset, bytes, (step->to & 7) + 1) ^ bytes[0];
            break;
        case store_buffer:
            bytes[0] = step->flags;
            result = bpf_xdp_store_bytes(ctx, step->offset, bytes, (step->to & 7) + 1);
            break;
        }
        note(i, result);
    }
    return verdict;
}

SEC("xdp") int to_device(struct xdp_md *ctx)
{
    return bpf_redirect(place, 0);
}

SEC("xdp") int to_processor(struct xdp_md *ctx)
{
    return bpf_redirect_map(&processors, place, XDP_PASS);
}

SEC("xdp") int to_mapped(struct xdp_md *ctx)
{
    return place & 4 ? bpf_redirect_map(&hashed, place, XDP_DROP) : bpf_redirect_map(&devices, place, XDP_TX);
}

SEC("tc") int tell(struct __sk_buff *ctx)
{
    return bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU | (__u64)place << 32, &place, sizeof place);
}

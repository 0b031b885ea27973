#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>

enum side { active, passive }; /* who connected, who accepted */

struct connection {
    u64 time;
    u64 duration_ns;
    u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
    u16 local_port;
    u8 remote[16];
    u16 remote_port;
    enum side side;
    u64 bytes_sent; /* and acknowledged */
    u64 bytes_received;
    u32 retransmits;
    u32 rtt_us;
};
WBPF_EVENT(connection);

struct start {
    u64 time;
    enum side side;
    u32 reserved;
};

u64 lost;

/* Connections that are open, by the cookie of their socket. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, u64);
    __type(value, struct start);
} starts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");

static __always_inline void established(struct bpf_sock_ops *ctx, enum side side)
{
    u64 cookie = bpf_get_socket_cookie(ctx);
    struct start start = {.time = bpf_ktime_get_ns(), .side = side};
    bpf_map_update_elem(&starts, &cookie, &start, BPF_ANY);
    bpf_sock_ops_cb_flags_set(ctx,
                              BPF_SOCK_OPS_STATE_CB_FLAG); /* of this socket, tell each change of state */
}

static __always_inline void copy_address(u8 *to, u32 family, u32 ip4, u32 a, u32 b, u32 c, u32 d)
{
    u32 words[4] = {0, 0, bpf_htonl(0xffff), ip4};
    u32 words6[4] = {a, b, c, d};
    __builtin_memcpy(to, family == AF_INET ? words : words6, 16);
}

static __always_inline void closed(struct bpf_sock_ops *ctx)
{
    u64 cookie = bpf_get_socket_cookie(ctx);
    struct start *start = bpf_map_lookup_elem(&starts, &cookie);
    if (!start)
        return;
    struct connection *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
        return;
    }
    event->time = start->time;
    event->duration_ns = bpf_ktime_get_ns() - start->time;
    event->side = start->side;
    copy_address(event->local, ctx->family, ctx->local_ip4, ctx->local_ip6[0], ctx->local_ip6[1],
                 ctx->local_ip6[2], ctx->local_ip6[3]);
    copy_address(event->remote, ctx->family, ctx->remote_ip4, ctx->remote_ip6[0], ctx->remote_ip6[1],
                 ctx->remote_ip6[2], ctx->remote_ip6[3]);
    event->local_port = ctx->local_port; /* the host's byte order; the other port has the network's */
    event->remote_port = bpf_ntohl(ctx->remote_port);
    event->bytes_sent = ctx->bytes_acked;
    event->bytes_received = ctx->bytes_received;
    event->retransmits = ctx->total_retrans;
    event->rtt_us = ctx->srtt_us >> 3; /* the kernel keeps eighths */
    bpf_ringbuf_submit(event, 0);
    bpf_map_delete_elem(&starts, &cookie);
}

SEC("sockops")
int on_socket(struct bpf_sock_ops *ctx)
{
    switch (ctx->op) {
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
        established(ctx, active);
        break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
        established(ctx, passive);
        break;
    case BPF_SOCK_OPS_STATE_CB:
        if (ctx->args[1] == BPF_TCP_CLOSE)
            closed(ctx);
    }
    return 1;
}

char LICENSE[] SEC("license") = "GPL";

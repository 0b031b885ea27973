#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>

enum protocol { other = 0, icmp = 1, tcp = 6, udp = 17, icmp6 = 58 }; /* as IP numbers them */
enum direction { in, out, directions };

/* A line of the output; the control program makes it of an entry of `flows`. */
struct flow {
    u8 local[16];
    u16 local_port;
    u8 remote[16];
    u16 remote_port;
    enum protocol protocol;
    u64 packets_in;
    u64 bytes_in;
    u64 packets_out;
    u64 bytes_out;
    u64 latencies;
    u64 latency_mean_ns;
    u64 latency_max_ns;
};
WBPF_EVENT(flow);

struct flow_key {
    u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
    u8 remote[16];
    __be16 local_port;
    __be16 remote_port;
    u32 protocol;
};

struct flow_stats {
    u64 packets[directions];
    u64 bytes[directions];
    u64 latencies;
    u64 latency_sum_ns;
    u64 latency_max_ns;
    u64 asked_ns;  /* when the question passed that has no answer yet; 0: there is none */
    u32 asked_ack; /* TCP: the acknowledgement that answers it */
    u32 asker;     /* the direction of the flow's first packet */
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, struct flow_key);
    __type(value, struct flow_stats);
} flows SEC(".maps");

/* Reads the flow that a packet belongs to; returns where what IP carries begins, 0 if that is not there. */
static __always_inline u32 read_flow(struct __sk_buff *skb, enum direction direction, struct flow_key *key)
{
    u8 *from = direction == out ? key->local : key->remote, *to = direction == out ? key->remote : key->local;
    u32 content = 0;
    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        struct iphdr ip;
        if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof ip))
            return 0;
        from[10] = from[11] = to[10] = to[11] = 0xff;
        __builtin_memcpy(from + 12, &ip.saddr, 4);
        __builtin_memcpy(to + 12, &ip.daddr, 4);
        key->protocol = ip.protocol;
        if (!(ip.frag_off & bpf_htons(0x1fff))) /* a later fragment has no ports */
            content = ETH_HLEN + ip.ihl * 4;
    } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr ip;
        if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof ip))
            return 0;
        __builtin_memcpy(from, &ip.saddr, 16);
        __builtin_memcpy(to, &ip.daddr, 16);
        key->protocol = ip.nexthdr;
        content = ETH_HLEN + sizeof ip;
    }
    __be16 ports[2];
    if (content && (key->protocol == tcp || key->protocol == udp) &&
        !bpf_skb_load_bytes(skb, content, ports, sizeof ports)) {
        key->local_port = ports[direction == out ? 0 : 1];
        key->remote_port = ports[direction == out ? 1 : 0];
    }
    return content;
}

static __always_inline void ask(struct flow_stats *stats, u32 ack)
{
    stats->asked_ack = ack;
    stats->asked_ns = bpf_ktime_get_ns();
}

static __always_inline void answer(struct flow_stats *stats)
{
    u64 latency_ns = bpf_ktime_get_ns() - stats->asked_ns;
    stats->asked_ns = 0;
    __atomic_fetch_add(&stats->latencies, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stats->latency_sum_ns, latency_ns, __ATOMIC_RELAXED);
    if (latency_ns > stats->latency_max_ns)
        stats->latency_max_ns = latency_ns;
}

/* TCP: from a segment to the acknowledgement of its last byte; never of one that was sent twice (Karn). */
static __always_inline void time_segment(struct __sk_buff *skb, enum direction direction,
                                         struct flow_stats *stats, u32 at)
{
    struct tcphdr segment;
    if (bpf_skb_load_bytes(skb, at, &segment, sizeof segment))
        return;
    if (direction == in) {
        if (stats->asked_ns && segment.ack && (s32)(bpf_ntohl(segment.ack_seq) - stats->asked_ack) >= 0)
            answer(stats);
        return;
    }
    u32 bytes = skb->len - at - segment.doff * 4 + segment.syn + segment.fin;
    u32 end = bpf_ntohl(segment.seq) + bytes;
    if (!bytes)
        return;
    if (!stats->asked_ns)
        ask(stats, end);
    else if ((s32)(end - stats->asked_ack) <= 0)
        stats->asked_ns = 0;
}

static __always_inline int count(struct __sk_buff *skb, enum direction direction)
{
    struct flow_key key = {};
    u32 content = read_flow(skb, direction, &key);
    struct flow_stats *stats = bpf_map_lookup_elem(&flows, &key);
    if (!stats) {
        struct flow_stats none = {.asker = direction};
        bpf_map_update_elem(&flows, &key, &none, BPF_NOEXIST);
        stats = bpf_map_lookup_elem(&flows, &key);
        if (!stats)
            return TC_ACT_UNSPEC;
    }
    __atomic_fetch_add(&stats->packets[direction], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stats->bytes[direction], skb->len, __ATOMIC_RELAXED);
    if (content && key.protocol == tcp)
        time_segment(skb, direction, stats, content);
    else if (stats->asker != direction && stats->asked_ns)
        answer(stats);
    else if (stats->asker == direction && !stats->asked_ns)
        ask(stats, 0);
    return TC_ACT_UNSPEC; /* as if this program were not there */
}

SEC("tc")
int on_ingress(struct __sk_buff *skb)
{
    return count(skb, in);
}

SEC("tc")
int on_egress(struct __sk_buff *skb)
{
    return count(skb, out);
}

char LICENSE[] SEC("license") = "GPL";

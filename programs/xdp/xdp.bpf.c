#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>

enum protocol { other = 0, icmp = 1, tcp = 6, udp = 17, icmp6 = 58 }; /* as IP numbers them */

/* A line of the output; the control program makes it of the CPUs' counters. */
struct traffic {
    enum protocol protocol;
    u32 reserved;
    u64 packets;
    u64 bytes;
    u64 dropped;
};
WBPF_EVENT(traffic);

struct counter {
    u64 packets;
    u64 bytes;
    u64 dropped;
};

const volatile u16 drop_udp_port; /* --drop-udp-port; 0: none */

/* By protocol. Each CPU counts for itself: no atomic operations. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 256);
    __type(key, u32);
    __type(value, struct counter);
} counters SEC(".maps");

/* The protocol of a packet, and where what it carries begins: NULL if that is not there. */
static __always_inline u32 protocol_of(void *packet, void *end, void **content)
{
    struct ethhdr *ethernet = packet;
    *content = NULL;
    if (ethernet + 1 > (struct ethhdr *)end)
        return other;
    if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = (void *)(ethernet + 1);
        if (ip + 1 > (struct iphdr *)end)
            return other;
        if (!(ip->frag_off & bpf_htons(0x1fff))) /* a later fragment has no header of its protocol */
            *content = (void *)ip + ip->ihl * 4;
        return ip->protocol;
    }
    if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = (void *)(ethernet + 1);
        if (ip + 1 > (struct ipv6hdr *)end)
            return other;
        *content = ip + 1;
        return ip->nexthdr;
    }
    return other;
}

SEC("xdp")
int on_packet(struct xdp_md *ctx)
{
    void *packet = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *content;
    u32 protocol = protocol_of(packet, end, &content);
    struct counter *counter = bpf_map_lookup_elem(&counters, &protocol);
    if (!counter)
        return XDP_PASS;
    counter->packets++;
    counter->bytes += end - packet;
    struct udphdr *datagram = content;
    if (!drop_udp_port || protocol != udp || !datagram || datagram + 1 > (struct udphdr *)end ||
        datagram->dest != bpf_htons(drop_udp_port))
        return XDP_PASS;
    counter->dropped++;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";

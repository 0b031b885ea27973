#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>

enum protocol { other = 0, icmp = 1, tcp = 6, udp = 17, icmp6 = 58 }; /* as IP numbers them */
enum direction { in, out };

struct packet {
    u64 time;
    u8 source[16]; /* IPv4 as ::ffff:a.b.c.d */
    __be16 source_port;
    u8 destination[16];
    __be16 destination_port;
    enum protocol protocol;
    enum direction direction;
    u32 bytes;
};
WBPF_EVENT(packet);

const volatile u16 port; /* --port; 0: any */
u64 lost;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4 * 1024 * 1024);
} events SEC(".maps");

/* Reads the addresses; returns where what IP carries begins, 0 if that is not there. */
static __always_inline u32 read_addresses(struct __sk_buff *skb, struct packet *packet)
{
    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        struct iphdr ip;
        if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof ip))
            return 0;
        packet->source[10] = packet->source[11] = packet->destination[10] = packet->destination[11] = 0xff;
        __builtin_memcpy(packet->source + 12, &ip.saddr, 4);
        __builtin_memcpy(packet->destination + 12, &ip.daddr, 4);
        packet->protocol = ip.protocol;
        return ip.frag_off & bpf_htons(0x1fff) ? 0 : ETH_HLEN + ip.ihl * 4;
    }
    if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr ip;
        if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof ip))
            return 0;
        __builtin_memcpy(packet->source, &ip.saddr, 16);
        __builtin_memcpy(packet->destination, &ip.daddr, 16);
        packet->protocol = ip.nexthdr;
        return ETH_HLEN + sizeof ip;
    }
    return 0;
}

SEC("socket")
int on_packet(struct __sk_buff *skb)
{
    struct packet packet = {
        .time = bpf_ktime_get_ns(),
        .bytes = skb->len,
        .direction = skb->pkt_type == PACKET_OUTGOING ? out : in,
    };
    u32 content = read_addresses(skb, &packet);
    __be16 ports[2] = {};
    if (content && (packet.protocol == tcp || packet.protocol == udp))
        bpf_skb_load_bytes(skb, content, ports, sizeof ports);
    packet.source_port = ports[0];
    packet.destination_port = ports[1];
    if (port && ports[0] != bpf_htons(port) && ports[1] != bpf_htons(port))
        return 0;
    if (bpf_ringbuf_output(&events, &packet, sizeof packet, 0))
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    return 0; /* nothing of the packet is queued for the socket */
}

char LICENSE[] SEC("license") = "GPL";

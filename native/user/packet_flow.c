/* Programs over packets: from batches, TAP devices and AF_PACKET sockets. */
#include "user/packet_flow.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    ETHERNET_BYTES = 14,
    ADDRESSES_BYTES = 12,
    TAG_BYTES = 4,
    HEADROOM = 16384 + 256,
    TAILROOM = 16384 + 256,
    BYTES_MOST = 1 << 18, /* of a packet; longer ones are cut */
    XDP_HEADROOM = 216,   /* XDP_PACKET_HEADROOM without struct xdp_frame */
    XDP_ROOM = 3520,      /* of a page, without headroom and struct skb_shared_info */
};

struct wbpf_packet_flow {
    const wbpf_user_program *program;
    enum wbpf_packet_kind kind;
    wbpf_packet_counts counts;
    wbpf_packet packet;
    uint8_t *start; /* where packets are put, with room around */
    uint8_t room[HEADROOM + BYTES_MOST + TAILROOM];
};

int wbpf_packet_flow_create(const wbpf_user_program *program, enum wbpf_packet_kind kind,
                            wbpf_packet_flow **out)
{
    wbpf_packet_flow *flow = calloc(1, sizeof *flow);
    if (!flow)
        return -ENOMEM;
    flow->program = program;
    flow->kind = kind;
    flow->start = flow->room + HEADROOM;
    *out = flow;
    return 0;
}

void wbpf_packet_flow_destroy(wbpf_packet_flow *flow)
{
    free(flow);
}

/* Only the thread that runs packets changes them. */
static void add(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void wbpf_packet_flow_counts(const wbpf_packet_flow *flow, wbpf_packet_counts *out)
{
    const wbpf_packet_counts *counts = &flow->counts;
    memset(out, 0, sizeof *out);
    out->packets = load(&counts->packets);
    out->bytes = load(&counts->bytes);
    for (int i = 0; i < WBPF_VERDICTS; i++)
        out->verdicts[i] = load(&counts->verdicts[i]);
    out->invalid = load(&counts->invalid);
    out->stopped = load(&counts->stopped);
    out->unsent = load(&counts->unsent);
    out->more_targets = load(&counts->more_targets);
    out->target_count = __atomic_load_n(&counts->target_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < out->target_count; i++) {
        out->targets[i] = counts->targets[i];
        out->targets[i].count = load(&counts->targets[i].count);
    }
}

static void count_target(wbpf_packet_counts *counts, const wbpf_packet *packet)
{
    uint32_t i = 0;
    for (; i < counts->target_count; i++) {
        const wbpf_packet_target *one = &counts->targets[i];
        if (one->kind == packet->target_kind && one->map == packet->target_map &&
            one->index == packet->target_index && one->value == packet->target_value)
            break;
    }
    if (i == WBPF_PACKET_TARGETS) {
        add(&counts->more_targets, 1);
    } else if (i == counts->target_count) {
        counts->targets[i] = (wbpf_packet_target){packet->target_kind, packet->target_map,
                                                  packet->target_index, packet->target_value, 1};
        __atomic_store_n(&counts->target_count, i + 1, __ATOMIC_RELEASE);
    } else {
        add(&counts->targets[i].count, 1);
    }
}

static uint16_t protocol_of(const uint8_t *frame, size_t bytes)
{
    uint16_t type;
    memcpy(&type, frame + ADDRESSES_BYTES, sizeof type);
    if (ntohs(type) >= 0x600)
        return type;
    bool raw = bytes >= ETHERNET_BYTES + 2 && frame[14] == 0xff && frame[15] == 0xff;
    return htons(raw ? 1 : 4); /* ETH_P_802_3, ETH_P_802_2 */
}

/* The context for a packet at `start`. */
static void prepare(wbpf_packet_flow *flow, uint8_t *start, size_t bytes, const wbpf_packet_facts *facts)
{
    wbpf_packet *packet = &flow->packet;
    memset(packet, 0, sizeof *packet);
    packet->data = packet->data_meta = packet->mac = (uint64_t)(uintptr_t)start;
    packet->network = packet->data + ETHERNET_BYTES;
    packet->data_end = packet->data + bytes;
    if (flow->kind == WBPF_PACKET_XDP) {
        struct xdp_md *md = (struct xdp_md *)(void *)packet->visible;
        md->ingress_ifindex = facts->ifindex;
        packet->low = packet->data - XDP_HEADROOM;
        packet->high = packet->data + (bytes > XDP_ROOM ? bytes : XDP_ROOM);
        return;
    }
    struct __sk_buff *skb = (struct __sk_buff *)(void *)packet->visible;
    skb->len = skb->wire_len = (uint32_t)bytes;
    skb->pkt_type = facts->type;
    skb->protocol = protocol_of(start, bytes);
    skb->ifindex = facts->ifindex;
    skb->ingress_ifindex = facts->type == PACKET_OUTGOING ? 0 : facts->ifindex;
    skb->tstamp = facts->time_ns;
    skb->vlan_present = facts->vlan_protocol != 0;
    skb->vlan_proto = facts->vlan_protocol;
    skb->vlan_tci = facts->vlan_tci;
    packet->low = packet->data - (HEADROOM - 256);
    packet->high = packet->data_end + TAILROOM - 256;
}

static bool goes_on(wbpf_packet_flow *flow, int32_t verdict)
{
    wbpf_packet_counts *counts = &flow->counts;
    int64_t number = flow->kind == WBPF_PACKET_TC       ? (int64_t)verdict + 1
                     : flow->kind == WBPF_PACKET_SOCKET ? verdict != 0
                                                        : (int64_t)(uint32_t)verdict;
    int64_t most = flow->kind == WBPF_PACKET_TC ? TC_ACT_TRAP + 1 : XDP_REDIRECT;
    if (number < 0 || number > most) {
        add(&counts->invalid, 1);
        return flow->kind == WBPF_PACKET_TC; /* as TC_ACT_UNSPEC there, as XDP_ABORTED for XDP */
    }
    add(&counts->verdicts[number], 1);
    if (flow->kind == WBPF_PACKET_SOCKET)
        return verdict != 0;
    bool is_xdp = flow->kind == WBPF_PACKET_XDP;
    if (verdict == (is_xdp ? (int)XDP_REDIRECT : TC_ACT_REDIRECT))
        count_target(counts, &flow->packet);
    if (is_xdp)
        return verdict >= (int)XDP_PASS;
    return verdict != TC_ACT_SHOT && verdict != TC_ACT_STOLEN && verdict != TC_ACT_QUEUED &&
           verdict != TC_ACT_TRAP;
}

/* What is at `start` already. */
static bool run_at(wbpf_packet_flow *flow, uint8_t *start, size_t bytes, const wbpf_packet_facts *facts,
                   int32_t *verdict)
{
    wbpf_packet *packet = &flow->packet;
    wbpf_user_run run = {.context = packet, .context_bytes = sizeof *packet};
    *verdict = 0;
    if (bytes < ETHERNET_BYTES) /* no device gives such */
        return false;
    prepare(flow, start, bytes, facts);
    add(&flow->counts.packets, 1);
    add(&flow->counts.bytes, bytes);
    if (wbpf_user_program_run(flow->program, &run)) {
        add(&flow->counts.stopped, 1);
        return false;
    }
    *verdict = (int32_t)run.result;
    bool on = goes_on(flow, *verdict);
    if (flow->kind == WBPF_PACKET_SOCKET && (uint32_t)*verdict < packet->data_end - packet->data)
        packet->data_end = packet->data + (uint32_t)*verdict;
    return on;
}

bool wbpf_packet_flow_run(wbpf_packet_flow *flow, const void *packet, size_t bytes,
                          const wbpf_packet_facts *facts, int32_t *verdict, const uint8_t **data,
                          size_t *data_bytes)
{
    bytes = bytes < BYTES_MOST ? bytes : BYTES_MOST;
    memcpy(flow->start, packet, bytes);
    bool on = run_at(flow, flow->start, bytes, facts, verdict);
    *data = (const uint8_t *)(uintptr_t)flow->packet.data;
    *data_bytes = on ? flow->packet.data_end - flow->packet.data : 0;
    return on;
}

/* ---- as they come ---- */

/* One packet of a socket; a VLAN's tag is beside it. */
static ssize_t receive(int fd, uint8_t *start, wbpf_packet_facts *facts)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct sockaddr_ll from;
    struct iovec part = {start, BYTES_MOST};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t bytes = recvmsg(fd, &message, MSG_DONTWAIT);
    if (bytes < 0)
        return -errno;
    facts->ifindex = (uint32_t)from.sll_ifindex;
    facts->type = from.sll_pkttype;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
        struct tpacket_auxdata aux;
        if (one->cmsg_level != SOL_PACKET || one->cmsg_type != PACKET_AUXDATA)
            continue;
        memcpy(&aux, CMSG_DATA(one), sizeof aux);
        if (aux.tp_status & TP_STATUS_VLAN_VALID) {
            facts->vlan_tci = aux.tp_vlan_tci;
            facts->vlan_protocol =
                htons(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : 0x8100);
        }
    }
    return bytes;
}

/* XDP programs see it where the sender put it. */
static uint8_t *put_tag_back(uint8_t *start, const wbpf_packet_facts *facts)
{
    uint16_t tci = htons(facts->vlan_tci);
    memmove(start - TAG_BYTES, start, ADDRESSES_BYTES);
    memcpy(start + ADDRESSES_BYTES - TAG_BYTES, &facts->vlan_protocol, 2);
    memcpy(start + ADDRESSES_BYTES - 2, &tci, 2);
    return start - TAG_BYTES;
}

static int pump_one(wbpf_packet_flow *flow, int fd, enum wbpf_packet_source source)
{
    wbpf_packet_facts facts = {0};
    uint8_t *start = flow->start;
    int32_t verdict;
    bool is_socket = source != WBPF_PACKETS_TAP;
    ssize_t bytes = is_socket ? receive(fd, start, &facts) : read(fd, start, BYTES_MOST);
    if (bytes < 0) {
        int error = is_socket ? (int)-bytes : errno;
        return error == EAGAIN || error == EINTR || error == ENETDOWN ? 0 : -error;
    }
    if (source == WBPF_PACKETS_SENT && facts.type != PACKET_OUTGOING)
        return 0;
    if (flow->kind == WBPF_PACKET_XDP && facts.vlan_protocol && bytes >= ETHERNET_BYTES) {
        start = put_tag_back(start, &facts);
        bytes += TAG_BYTES;
    }
    if (run_at(flow, start, (size_t)bytes, &facts, &verdict) && flow->kind == WBPF_PACKET_XDP &&
        verdict == XDP_TX) {
        const wbpf_packet *packet = &flow->packet;
        if (write(fd, (void *)(uintptr_t)packet->data, packet->data_end - packet->data) < 0)
            add(&flow->counts.unsent, 1);
    }
    return 0;
}

int wbpf_packet_flow_pump(wbpf_packet_flow *flow, int fd, int stop_fd, enum wbpf_packet_source source)
{
    struct pollfd files[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (;;) {
        if (poll(files, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if (files[0].revents)
            return 0;
        /* A batch, so that looking whether to stop costs little. */
        for (int i = 0; i < 64 && files[1].revents; i++) {
            int error = pump_one(flow, fd, source);
            if (error)
                return error;
            if (poll(&files[1], 1, 0) < 0 && errno != EINTR)
                return -errno;
        }
    }
}

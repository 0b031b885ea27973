/* Helpers of programs for packets, as those of the kernel (net/core/filter.c). */
#include "user/packets.h"
#include "maps/maps.h"
#include "user/helpers.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <string.h>

#define UNUSED __attribute__((unused))
#define HELPER(name)                                                                                         \
    static uint64_t name(struct wbpf_env UNUSED *env, uint64_t UNUSED r1, uint64_t UNUSED r2,                \
                         uint64_t UNUSED r3, uint64_t UNUSED r4, uint64_t UNUSED r5)
#define MEMORY(r)    ((void *)(uintptr_t)(r))
#define ANSWER(code) ((uint64_t)(int64_t)(code))
#define ENOTSUPP     524 /* the kernel's own */
#define PACKET(env)  ((wbpf_packet *)(uintptr_t)(env)->context)
#define SKB(packet)  ((struct __sk_buff *)(void *)(packet)->visible)

enum {
    ETHERNET_BYTES = 14,
    META_MOST = 255,
    SKB_BYTES_MOST = 16064, /* BPF_SKB_MAX_LEN on pages of 4 KiB */
    OFFSET_MOST = 0xffff,
    CHECKSUM_MANGLED = 0xffff,
};

_Static_assert(offsetof(wbpf_packet, data) == 192, "packets.py");
_Static_assert(offsetof(wbpf_packet, low) == 216, "packets.py");
_Static_assert(offsetof(wbpf_packet, mac) == 232, "packets.py");
_Static_assert(offsetof(wbpf_packet, target_kind) == 248, "packets.py");
_Static_assert(sizeof(wbpf_packet) == 272, "packets.py");

static uint64_t bytes_of(const wbpf_packet *packet)
{
    return packet->data_end - packet->data;
}

/* ---- XDP ---- */

HELPER(xdp_adjust_head)
{
    wbpf_packet *packet = PACKET(env);
    int64_t by = (int32_t)r2;
    uint64_t meta = packet->data - packet->data_meta, data = packet->data + (uint64_t)by;
    if (data < packet->low + meta || data + ETHERNET_BYTES > packet->data_end)
        return ANSWER(-EINVAL);
    if (meta)
        memmove(MEMORY(packet->data_meta + (uint64_t)by), MEMORY(packet->data_meta), meta);
    packet->data_meta += (uint64_t)by;
    packet->data = data;
    return 0;
}

HELPER(xdp_adjust_tail)
{
    wbpf_packet *packet = PACKET(env);
    int64_t by = (int32_t)r2;
    uint64_t end = packet->data_end + (uint64_t)by;
    if (end > packet->high || end < packet->data + ETHERNET_BYTES)
        return ANSWER(-EINVAL);
    if (by > 0)
        memset(MEMORY(packet->data_end), 0, (size_t)by);
    packet->data_end = end;
    return 0;
}

HELPER(xdp_adjust_meta)
{
    wbpf_packet *packet = PACKET(env);
    uint64_t meta = packet->data_meta + (uint64_t)(int64_t)(int32_t)r2, bytes = packet->data - meta;
    if (meta < packet->low || meta > packet->data)
        return ANSWER(-EINVAL);
    if (bytes % 4 || bytes > META_MOST)
        return ANSWER(-EACCES);
    packet->data_meta = meta;
    return 0;
}

HELPER(xdp_get_buff_len)
{
    return bytes_of(PACKET(env));
}

static int64_t xdp_range(const wbpf_packet *packet, uint64_t offset, uint64_t bytes)
{
    if (offset > OFFSET_MOST || bytes > OFFSET_MOST)
        return -EFAULT;
    return offset + bytes > bytes_of(packet) ? -EINVAL : 0;
}

HELPER(xdp_load_bytes)
{
    const wbpf_packet *packet = PACKET(env);
    int64_t error = xdp_range(packet, (uint32_t)r2, (uint32_t)r4);
    if (!error)
        memcpy(MEMORY(r3), MEMORY(packet->data + (uint32_t)r2), (uint32_t)r4);
    return ANSWER(error);
}

HELPER(xdp_store_bytes)
{
    const wbpf_packet *packet = PACKET(env);
    int64_t error = xdp_range(packet, (uint32_t)r2, (uint32_t)r4);
    if (!error)
        memmove(MEMORY(packet->data + (uint32_t)r2), MEMORY(r3), (uint32_t)r4);
    return ANSWER(error);
}

/* ---- where a packet goes ---- */

static void aim(wbpf_packet *packet, uint32_t kind, uint32_t map, uint64_t index, uint64_t value)
{
    packet->target_kind = kind;
    packet->target_map = map;
    packet->target_index = index;
    packet->target_value = value;
}

HELPER(xdp_redirect)
{
    if (r2)
        return XDP_ABORTED;
    aim(PACKET(env), UINT32_MAX, 0, (uint32_t)r1, (uint32_t)r1);
    return XDP_REDIRECT;
}

HELPER(tc_redirect)
{
    if (r2 & ~(uint64_t)BPF_F_INGRESS)
        return TC_ACT_SHOT;
    aim(PACKET(env), UINT32_MAX, 0, (uint32_t)r1, (uint32_t)r1);
    return TC_ACT_REDIRECT;
}

HELPER(redirect_map)
{
    wbpf_user_map *map = MEMORY(r1);
    wbpf_user_map_spec spec;
    uint32_t key = (uint32_t)r2, value[2] = {0};
    wbpf_user_map_facts(map, &spec);
    bool devices = spec.kind == BPF_MAP_TYPE_DEVMAP || spec.kind == BPF_MAP_TYPE_DEVMAP_HASH;
    uint64_t all = devices ? BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS : 0;
    if (r3 & ~(XDP_TX | all))
        return XDP_ABORTED;
    bool there = r2 <= UINT32_MAX && !wbpf_user_map_lookup(map, &key, value, 0);
    if (!there && !(r3 & BPF_F_BROADCAST)) {
        aim(PACKET(env), 0, 0, 0, 0);
        return r3 & XDP_TX;
    }
    aim(PACKET(env), spec.kind, wbpf_user_map_id(map), r3 & BPF_F_BROADCAST ? UINT64_MAX : r2, value[0]);
    return XDP_REDIRECT;
}

/* ---- reading and writing socket buffers ---- */

/* The last bytes of a range of the packet are in it. */
static bool reaches(const wbpf_packet *packet, uint64_t offset, uint64_t bytes)
{
    return offset + bytes <= bytes_of(packet);
}

HELPER(skb_load_bytes)
{
    const wbpf_packet *packet = PACKET(env);
    uint32_t offset = (uint32_t)r2, bytes = (uint32_t)r4;
    if (offset <= INT32_MAX && reaches(packet, offset, bytes)) {
        memmove(MEMORY(r3), MEMORY(packet->data + offset), bytes);
        return 0;
    }
    memset(MEMORY(r3), 0, bytes);
    return ANSWER(-EFAULT);
}

HELPER(skb_load_bytes_relative)
{
    const wbpf_packet *packet = PACKET(env);
    uint32_t offset = (uint32_t)r2, bytes = (uint32_t)r4, from = (uint32_t)r5;
    uint64_t start = from == BPF_HDR_START_MAC ? packet->mac : packet->network;
    if (offset <= OFFSET_MOST && from <= BPF_HDR_START_NET && start + offset + bytes <= packet->data_end) {
        memmove(MEMORY(r3), MEMORY(start + offset), bytes);
        return 0;
    }
    memset(MEMORY(r3), 0, bytes);
    return ANSWER(-EFAULT);
}

/* BPF_LD | BPF_ABS, BPF_IND: in network byte order; offsets below 0 count from a header. */
HELPER(skb_load)
{
    const wbpf_packet *packet = PACKET(env);
    int32_t offset = (int32_t)r2;
    uint64_t width = r3, value = 0, at = packet->data + (uint64_t)(int64_t)offset, first = packet->data;
    if (offset < 0) {
        if (offset >= SKF_NET_OFF)
            at = packet->network + (uint64_t)((int64_t)offset - SKF_NET_OFF);
        else if (offset >= SKF_LL_OFF)
            at = packet->mac + (uint64_t)((int64_t)offset - SKF_LL_OFF);
        else
            return ANSWER(-EFAULT);
        first = packet->mac < first ? packet->mac : first;
    }
    if (at < first || at + width > packet->data_end)
        return ANSWER(-EFAULT);
    for (uint64_t i = 0; i < width; i++)
        value = value << 8 | *(const uint8_t *)MEMORY(at + i);
    return value;
}

HELPER(skb_store_bytes)
{
    wbpf_packet *packet = PACKET(env);
    uint32_t offset = (uint32_t)r2, bytes = (uint32_t)r4;
    if (r5 & ~(uint64_t)(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))
        return ANSWER(-EINVAL);
    if (offset > INT32_MAX || !reaches(packet, offset, bytes))
        return ANSWER(-EFAULT);
    memmove(MEMORY(packet->data + offset), MEMORY(r3), bytes);
    if (r5 & BPF_F_INVALIDATE_HASH)
        SKB(packet)->hash = 0;
    return 0;
}

HELPER(skb_pull_data)
{
    uint32_t bytes = (uint32_t)r2;
    return reaches(PACKET(env), 0, bytes) ? 0 : ANSWER(-ENOMEM);
}

HELPER(skb_change_type)
{
    struct __sk_buff *skb = SKB(PACKET(env));
    if (skb->pkt_type > PACKET_OTHERHOST || (uint32_t)r2 > PACKET_OTHERHOST)
        return ANSWER(-EINVAL);
    skb->pkt_type = (uint32_t)r2;
    return 0;
}

HELPER(set_hash)
{
    SKB(PACKET(env))->hash = (uint32_t)r2;
    return 0;
}

HELPER(set_hash_invalid)
{
    SKB(PACKET(env))->hash = 0;
    return 0;
}

/* ---- checksums ---- */

static uint32_t add_sums(uint32_t a, uint32_t b)
{
    uint64_t sum = (uint64_t)a + b;
    return (uint32_t)sum + (uint32_t)(sum >> 32);
}

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* csum_partial() */
static uint32_t sum_of(const void *data, uint32_t bytes, uint32_t sum)
{
    for (uint32_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        memcpy(&word, (const uint8_t *)data + i, bytes - i < 4 ? bytes - i : 4);
        sum = add_sums(sum, word);
    }
    return sum;
}

HELPER(csum_diff)
{
    uint32_t from = (uint32_t)r2, to = (uint32_t)r4, seed = (uint32_t)r5, sum = seed;
    if (from && to)
        sum = add_sums(sum_of(MEMORY(r3), to, seed), ~sum_of(MEMORY(r1), from, 0));
    else if (to)
        sum = sum_of(MEMORY(r3), to, seed);
    else if (from)
        sum = ~sum_of(MEMORY(r1), from, ~seed);
    return fold(sum);
}

HELPER(csum_update)
{
    return ANSWER(-ENOTSUPP); /* no device gave a sum of the whole packet */
}

/* By how much a sum in the packet changes; `size` is that of the field, 0: `to` is a difference. */
static int64_t replace(void *at, uint64_t size, uint32_t from, uint32_t to)
{
    uint16_t sum;
    memcpy(&sum, at, sizeof sum);
    uint32_t inverse = (uint16_t)~sum;
    switch (size) {
    case 0:
        if (from)
            return -EINVAL;
        sum = (uint16_t)~fold(add_sums(to, inverse));
        break;
    case 2: /* csum_replace2() */
        inverse = (uint32_t)inverse + (uint16_t)~from;
        inverse = (uint16_t)inverse + (inverse >> 16);
        inverse += (uint16_t)to;
        sum = (uint16_t)~((uint16_t)inverse + (inverse >> 16));
        break;
    case 4:
        sum = (uint16_t)~fold(add_sums(add_sums(inverse, ~from), to));
        break;
    default:
        return -EINVAL;
    }
    memcpy(at, &sum, sizeof sum);
    return 0;
}

static bool has_sum(const wbpf_packet *packet, uint64_t offset)
{
    return offset <= OFFSET_MOST && !(offset & 1) && reaches(packet, offset, 2);
}

HELPER(l3_csum_replace)
{
    const wbpf_packet *packet = PACKET(env);
    uint32_t offset = (uint32_t)r2;
    if (r5 & ~(uint64_t)BPF_F_HDR_FIELD_MASK)
        return ANSWER(-EINVAL);
    if (!has_sum(packet, offset))
        return ANSWER(-EFAULT);
    return ANSWER(replace(MEMORY(packet->data + offset), r5, (uint32_t)r3, (uint32_t)r4));
}

HELPER(l4_csum_replace)
{
    enum { IPV6 = 1 << 7 }; /* BPF_F_IPV6, since Linux 6.16 */
    const wbpf_packet *packet = PACKET(env);
    uint32_t offset = (uint32_t)r2;
    uint16_t sum;
    uint64_t size = r5 & BPF_F_HDR_FIELD_MASK;
    uint64_t known = BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_PSEUDO_HDR | IPV6;
    if (r5 & ~(known | BPF_F_HDR_FIELD_MASK))
        return ANSWER(-EINVAL);
    if (!has_sum(packet, offset))
        return ANSWER(-EFAULT);
    void *at = MEMORY(packet->data + offset);
    memcpy(&sum, at, sizeof sum);
    if (r5 & BPF_F_MARK_MANGLED_0 && !(r5 & BPF_F_MARK_ENFORCE) && !sum)
        return 0;
    /* inet_proto_csum_replace2() is that of 4 bytes. */
    int64_t error = replace(at, size == 2 ? 4 : size, (uint32_t)r3, (uint32_t)r4);
    memcpy(&sum, at, sizeof sum);
    if (!error && r5 & BPF_F_MARK_MANGLED_0 && !sum) {
        sum = CHECKSUM_MANGLED;
        memcpy(at, &sum, sizeof sum);
    }
    return ANSWER(error);
}

/* ---- making packets longer and shorter ---- */

static void note_size(wbpf_packet *packet)
{
    SKB(packet)->len = (uint32_t)bytes_of(packet);
}

HELPER(skb_change_tail)
{
    wbpf_packet *packet = PACKET(env);
    uint64_t bytes = (uint32_t)r2, now = bytes_of(packet);
    uint64_t least = packet->network > packet->data ? packet->network - packet->data : 0;
    if (r3 || bytes > SKB_BYTES_MOST || bytes < least || packet->data + bytes > packet->high)
        return ANSWER(-EINVAL);
    if (bytes > now)
        memset(MEMORY(packet->data_end), 0, bytes - now);
    packet->data_end = packet->data + bytes;
    note_size(packet);
    return 0;
}

HELPER(skb_change_head)
{
    wbpf_packet *packet = PACKET(env);
    uint64_t more = (uint32_t)r2;
    if (r3 || more > INT32_MAX || bytes_of(packet) + more > SKB_BYTES_MOST ||
        packet->data - more < packet->low)
        return ANSWER(-EINVAL);
    packet->data -= more;
    packet->data_meta = packet->mac = packet->data;
    memset(MEMORY(packet->data), 0, more);
    note_size(packet);
    return 0;
}

/* ---- what is told of a packet ---- */

HELPER(packet_event_output)
{
    const wbpf_packet *packet = PACKET(env);
    uint64_t more = (r3 & BPF_F_CTXLEN_MASK) >> 32;
    if (r3 & ~(BPF_F_CTXLEN_MASK | BPF_F_INDEX_MASK))
        return ANSWER(-EINVAL);
    if (more > bytes_of(packet))
        return ANSWER(-EFAULT);
    return ANSWER(
        wbpf_shared_ring_emit(MEMORY(r2), r3 & BPF_F_INDEX_MASK, MEMORY(r4), r5, MEMORY(packet->data), more));
}

/* Below 0: what the translator calls for packets in place of the helper, or of a load, that others have. */
static const struct {
    int32_t number;
    wbpf_helper function;
} table[] = {
    {-25, packet_event_output}, {-23, tc_redirect},     {-3, skb_load},
    {9, skb_store_bytes},       {10, l3_csum_replace},  {11, l4_csum_replace},
    {23, xdp_redirect},         {26, skb_load_bytes},   {28, csum_diff},
    {32, skb_change_type},      {38, skb_change_tail},  {39, skb_pull_data},
    {40, csum_update},          {41, set_hash_invalid}, {43, skb_change_head},
    {44, xdp_adjust_head},      {48, set_hash},         {51, redirect_map},
    {54, xdp_adjust_meta},      {65, xdp_adjust_tail},  {68, skb_load_bytes_relative},
    {188, xdp_get_buff_len},    {189, xdp_load_bytes},  {190, xdp_store_bytes},
};

wbpf_helper wbpf_user_packet_helper(int32_t number)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].number == number)
            return table[i].function;
    return NULL;
}

/* Contexts of programs for packets: XDP, socket filters, traffic control. */
#ifndef WBPF_USER_PACKETS_H
#define WBPF_USER_PACKETS_H

#include "user/program.h"

#ifdef __cplusplus
extern "C" {
#endif

enum wbpf_packet_kind { WBPF_PACKET_XDP = 1, WBPF_PACKET_SOCKET, WBPF_PACKET_TC };

/*
 * What a program sees, and behind it where the packet is: the kernel's contexts have only 4 bytes for an
 * address. src/wbpf/bpf/user/packets.py says the same.
 */
typedef struct wbpf_packet {
    uint8_t visible[192]; /* struct xdp_md or struct __sk_buff */
    uint64_t data, data_end, data_meta;
    uint64_t low, high;    /* between which the packet may grow */
    uint64_t mac, network; /* where these headers are */
    uint32_t target_kind;  /* of a redirection: 0 none, else the map's kind, or UINT32_MAX for a device */
    uint32_t target_map;   /* its id */
    uint64_t target_index; /* in the map, or the device's number */
    uint64_t target_value; /* what the map has there: a device, a processor */
} wbpf_packet;

wbpf_helper wbpf_user_packet_helper(int32_t number);

#ifdef __cplusplus
}
#endif
#endif

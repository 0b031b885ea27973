/* Packets on their way through a program, one after the other. Errors are negative errnos. */
#ifndef WBPF_USER_PACKET_FLOW_H
#define WBPF_USER_PACKET_FLOW_H

#include "user/packets.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WBPF_VERDICTS = 10, WBPF_PACKET_TARGETS = 64 };

typedef struct wbpf_packet_target {
    uint32_t kind, map;
    uint64_t index, value, count;
} wbpf_packet_target;

/* What came of packets. */
typedef struct wbpf_packet_counts {
    uint64_t packets, bytes;
    uint64_t verdicts[WBPF_VERDICTS]; /* XDP by number; TC by number + 1; socket filters: dropped, kept */
    uint64_t invalid;                 /* verdicts that there are not */
    uint64_t stopped;                 /* by a check */
    uint64_t unsent;                  /* that XDP_TX could not send */
    uint64_t more_targets;            /* redirections for which there was no room in `targets` */
    uint32_t target_count;
    wbpf_packet_target targets[WBPF_PACKET_TARGETS];
} wbpf_packet_counts;

/* What is known of a packet besides its bytes. */
typedef struct wbpf_packet_facts {
    uint64_t time_ns; /* since 1970 */
    uint32_t ifindex, type;
    uint16_t vlan_tci, vlan_protocol; /* of a tag that is not in it; the protocol as in the packet, or 0 */
} wbpf_packet_facts;

/* A packet of a batch, and what came of it. */
typedef struct wbpf_packet_record {
    uint64_t offset; /* in the batch's bytes */
    uint64_t time_ns;
    uint32_t bytes, type;
    int32_t verdict;    /* out */
    uint32_t out_bytes; /* of what goes on; UINT32_MAX: it does not */
} wbpf_packet_record;

typedef struct wbpf_packet_flow wbpf_packet_flow;

int wbpf_packet_flow_create(const wbpf_user_program *program, enum wbpf_packet_kind kind,
                            wbpf_packet_flow **out);
void wbpf_packet_flow_destroy(wbpf_packet_flow *flow);
/* As they are now, from any thread. */
void wbpf_packet_flow_counts(const wbpf_packet_flow *flow, wbpf_packet_counts *out);

/* One packet. True: it goes on, and is in *data until the next one. -1 and so on are TC verdicts too. */
bool wbpf_packet_flow_run(wbpf_packet_flow *flow, const void *packet, size_t bytes,
                          const wbpf_packet_facts *facts, int32_t *verdict, const uint8_t **data,
                          size_t *data_bytes);

enum wbpf_packet_source { WBPF_PACKETS_TAP, WBPF_PACKETS_SOCKET, WBPF_PACKETS_SENT };

/*
 * Packets from a descriptor that gives one a read, until `stop_fd` can be read (0) or it fails. XDP_TX writes
 * them back. SENT: of an AF_PACKET socket's packets those that the host sends.
 */
int wbpf_packet_flow_pump(wbpf_packet_flow *flow, int fd, int stop_fd, enum wbpf_packet_source source);

#ifdef __cplusplus
}
#endif
#endif

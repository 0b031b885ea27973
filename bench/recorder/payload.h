/* Payloads that tell a reader who wrote them and whether one is missing: {thread, number} in the first 8
 * bytes, then bytes that follow from the seed. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include "slices.h"
#include <string.h>

#define MOST_PAYLOAD 1024

static inline void payload_number(uint8_t *payload, unsigned thread, uint64_t sequence)
{
    uint64_t value = (uint64_t)thread << 56 | sequence;
    memcpy(payload, &value, 8);
}

/*
 * Payloads in turns. The one that is written next was numbered a few calls ago: a copy that reads bytes which
 * were stored just before, in another width, waits for the store to reach the cache, and this would be
 * measured instead of the call.
 */
#define RING_PAYLOADS 8
#define RING_AHEAD    4

struct payload_ring {
    uint64_t sequence;
    uint8_t payload[RING_PAYLOADS][MOST_PAYLOAD + 64]; /* not 4096 bytes apart: stores would seem to clash */
};

static inline const uint8_t *ring_next(struct payload_ring *ring, unsigned thread)
{
    uint64_t sequence = ring->sequence++;
    payload_number(ring->payload[(sequence + RING_AHEAD) % RING_PAYLOADS], thread, sequence + RING_AHEAD);
    return ring->payload[sequence % RING_PAYLOADS];
}

static inline void payload_fill(uint8_t *payload, size_t bytes, uint64_t seed)
{
    for (size_t i = 8; i < bytes; i++)
        payload[i] = (uint8_t)mix(seed ^ i << 32);
}

static inline void ring_fill(struct payload_ring *ring, unsigned thread, size_t bytes, uint64_t seed)
{
    for (unsigned i = 0; i < RING_PAYLOADS; i++) {
        payload_fill(ring->payload[i], bytes, seed);
        payload_number(ring->payload[i], thread, i);
    }
}

#endif

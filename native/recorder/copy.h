/* Copying payloads to where records stand: at a multiple of 8, seldom at that of a cache line. */
#ifndef WBPF_COPY_H
#define WBPF_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Without a call, which would cost as much as a small payload. In eights at first: sixteens would wait for
 * fields that were stored just before. Large ones in blocks, straight on: glibc's memcpy takes half as long
 * again at such places (docs/decisions/recorder-speed.md).
 */
static inline void copy_payload(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64)
        memcpy(to + i, from + i, 64);
    for (; i + 8 <= bytes; i += 8)
        memcpy(to + i, from + i, 8);
    if (i == bytes)
        return;
    if (bytes > 8)
        memcpy(to + bytes - 8, from + bytes - 8, 8);
    else
        for (; i < bytes; i++)
            to[i] = from[i];
}

#endif

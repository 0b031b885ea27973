/* An opened segment, inside. */
#ifndef WBPF_SEGMENT_H
#define WBPF_SEGMENT_H

#include "internal.h"
#include "reader.h"

struct wbpf_segment {
    struct mapping map;
    char *path; /* absolute */
    bool writable, joined;
    struct process process; /* ours, once we need to own chunks */
    uint32_t old_level;
    struct watched_mapping *watched; /* NULL: private memory */
    struct kernel_chunks *kernel;    /* NULL: none in this segment */
};
bool segment_join(wbpf_segment *segment);
/* A segment in private memory (from mmap, the segment's from here on if all is well), for reading. -EPROTO as
 * for wbpf_segment_open. `name` says where it is from. */
int segment_adopt(uint8_t *base, uint64_t bytes, const char *name, wbpf_segment **out, char *why);

#endif

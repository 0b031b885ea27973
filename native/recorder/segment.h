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
    struct kernel_chunks *kernel; /* NULL: none in this segment */
};
bool segment_join(wbpf_segment *segment);

#endif

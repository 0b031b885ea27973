/*
 * How a process is asked to attach a program to its sites: a SOCK_SEQPACKET socket HOST/probes.PID below
 * $WBPF_DIR. src/wbpf/bpf/user/attach/site.py says the same in Python.
 *
 * The only message is a wbpf_attach_request, with descriptors: a memfd with the program, then its maps; all
 * are sealed against shrinking, the first also against writing. The answer is a wbpf_attach_reply. The
 * program is detached when the connection is shut down, or its other end dies; then comes a second reply.
 */
#ifndef WBPF_USER_ATTACH_H
#define WBPF_USER_ATTACH_H

#include <stdint.h>

#define WBPF_ATTACH_MAGIC     0x3148434154544157u /* "WATTACH1" */
#define WBPF_ATTACH_MAPS_MOST 64
#define WBPF_ATTACH_CODE_MOST (64u << 20)
#define WBPF_ATTACH_HELPERS   256

struct wbpf_attach_request {
    uint64_t magic;
    char site[256]; /* provider:name */
};

/* How the first memfd begins; then helper_count numbers (int32_t) of helpers, map_count wbpf_attach_map,
 * code. */
struct wbpf_attach_program {
    uint64_t magic, code_bytes, entry;
    uint32_t helper_count, map_count;
    uint32_t checked, reserved; /* checked: parts of it are not proved */
};

struct wbpf_attach_reply {
    int32_t error; /* 0 or a negative errno */
    uint32_t sites;
    uint64_t stopped, missed;
    char why[104];
};

#endif

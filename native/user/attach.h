/*
 * How a process is asked to attach a program: a SOCK_SEQPACKET socket HOST/probes.PID below $WBPF_DIR.
 * src/wbpf/bpf/user/attach/wire.py says the same in Python.
 *
 * The only message is a wbpf_attach_request, with descriptors: a memfd with the program, then its maps; all
 * are sealed against shrinking, the first also against writing. The answer is a wbpf_attach_reply. The
 * program is detached when the connection is shut down, or its other end dies; then comes a second reply.
 *
 * A process that was started by a tracer, or is a descendant of one, finds $WBPF_TRACER: a socket beside its
 * own. It sends a wbpf_attach_announcement there when it has begun and after a fork, and waits until a byte
 * says WBPF_ATTACH_GO, the connection ends, or time is over, unless WBPF_ATTACH_HOLD came.
 */
#ifndef WBPF_USER_ATTACH_H
#define WBPF_USER_ATTACH_H

#include <stdint.h>

#define WBPF_ATTACH_MAGIC     0x3248434154544157u /* "WATTACH2" */
#define WBPF_ATTACH_MAPS_MOST 64
#define WBPF_ATTACH_CODE_MOST (64u << 20)
#define WBPF_ATTACH_HELPERS   256
#define WBPF_ATTACH_HOLD      'h'
#define WBPF_ATTACH_GO        'g'

enum wbpf_attach_kind {
    WBPF_ATTACH_SITE = 1,
    WBPF_ATTACH_FUNCTION_ENTRY,
    WBPF_ATTACH_FUNCTION_RETURN,
    WBPF_ATTACH_SYSCALL_ENTRY,
    WBPF_ATTACH_SYSCALL_EXIT,
    WBPF_ATTACH_LIST, /* nothing is attached: the names of the sites, a line each, are written to a memfd */
};

/* A flag: the process waits for its tracer, so that none of its threads is where code is changed. */
#define WBPF_ATTACH_HELD 1u
/* A flag: the address is not where a function begins, so that any register may be in use. */
#define WBPF_ATTACH_INSIDE 2u

/* For functions: what is to stand elsewhere of the instructions that a jump takes the place of. */
struct wbpf_attach_code {
    uint8_t replaced;    /* bytes of those instructions; 0: nothing is replaced yet, and nothing shall be */
    uint8_t moved_bytes; /* of `moved` */
    uint8_t fix_count;   /* of `fixes` */
    uint8_t reserved[5];
    uint8_t original[32]; /* what stands there */
    uint8_t moved[64];    /* the same for elsewhere */
    uint8_t fixes[16];    /* where in `moved` are 32 bits relative to the place, as if it had stayed there */
};

struct wbpf_attach_request {
    uint64_t magic;
    uint32_t kind, flags;
    uint64_t where; /* an address, or the number of a system call or WBPF_SYSCALL_ALL… */
    uint64_t cookie;
    uint64_t semaphore; /* 16 bits that are counted up while it is attached; 0: none. Of functions */
    char site[256];     /* provider:name */
    struct wbpf_attach_code code;
};

/* How the first memfd begins; then helper_count numbers (int32_t) of helpers, map_count wbpf_attach_map,
 * code. */
struct wbpf_attach_program {
    uint64_t magic, code_bytes, entry;
    uint32_t helper_count, map_count;
    uint32_t checked; /* parts of it are not proved */
    uint32_t kind;    /* of its context */
};

struct wbpf_attach_reply {
    int32_t error; /* 0 or a negative errno */
    uint32_t sites;
    uint64_t stopped, missed;
    uint8_t patch[16]; /* what the tracer writes at `where` while all threads are stopped */
    uint32_t patch_bytes, reserved;
    char why[104];
};

struct wbpf_attach_announcement {
    uint64_t magic;
    int32_t pid;
    uint32_t forked; /* else it has begun to run a program */
};

#endif

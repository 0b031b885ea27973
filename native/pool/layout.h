/* What is in a pool's segment and in a host's file: shared memory, so every field has a fixed place. */
#ifndef WBPF_POOL_LAYOUT_H
#define WBPF_POOL_LAYOUT_H

#include "wbpf/pool.h"
#include <pthread.h>

#define POOL_MAGIC       0x314C4F4F50504277ULL /* the bytes wBPPOOL1 */
#define POOL_HOST_MAGIC  0x3154534F48504277ULL /* the bytes wBPHOST1 */
#define POOL_ENDIAN_MARK 0x01020304u
#define POOL_VERSION     1u

#define LINE_BYTES     WBPF_POOL_LINE_BYTES
#define POOL_PROCESSES 128 /* processes that are members of hosts at one time */
#define POOL_BELLS     64
#define POOL_BINS      128
#define POOL_FAULTS    64
#define ENVELOPE_LINES 1 /* before the payload of each object */

enum line_flags { LINE_VALID = 1, LINE_DIRTY = 2 };

/* State of one line. In the pool: what was last written back, `version` being S(line), and VALID always set
 * once it was. In a host's file: what its cache holds, `version` being C(host, line); of a dirty line, the
 * base version. */
struct pool_line {
    uint64_t generation; /* of the object that the bytes belong to */
    uint32_t version;
    uint16_t writer; /* index of the host that wrote it, + 1 */
    uint16_t flags;  /* enum line_flags */
};
_Static_assert(sizeof(struct pool_line) == 16, "pool_line");

enum entry_state {
    ENTRY_FREE,
    ENTRY_CREATING,
    ENTRY_SEALED,
    ENTRY_DELETED, /* no longer to be found, but somebody holds it */
};

/* An object. `state`, stored last, commits what is in the other fields; those marked DERIVED are rebuilt
 * after a process died while it held the lock. Indices are + 1, so that 0 is none. */
struct pool_entry {
    uint32_t state; /* ATOMIC. enum entry_state */
    uint32_t next;  /* DERIVED. In the hash chain, or in the list of free entries */
    uint64_t object_hash;
    uint64_t generation; /* ATOMIC. Drawn from one counter, so it names the object for good */
    uint64_t bytes;      /* of the payload, which starts ENVELOPE_LINES after first_line */
    uint32_t first_line;
    uint32_t line_count;
    uint32_t extent;     /* DERIVED */
    uint32_t references; /* DERIVED. Places in the tables of held objects that name this entry */
    uint32_t creator;    /* process slot, + 1 */
    uint32_t checksum;   /* of the payload, once sealed */
    uint16_t writer;     /* index of the host that created it, + 1 */
    uint8_t id_bytes;
    uint8_t reserved[5];
    uint8_t trace_id[16]; /* in which it was created */
    uint64_t sealed_ns;   /* virtual */
    char id[WBPF_POOL_MAX_ID_BYTES + 1];
    char tags[WBPF_POOL_MAX_ID_BYTES + 1];
    uint8_t pad[40];
};
_Static_assert(sizeof(struct pool_entry) == 256, "pool_entry");

/* A stretch of lines, free or of one object. All DERIVED. Indices are + 1. */
struct pool_extent {
    uint32_t first_line, line_count;
    uint32_t before, after;           /* neighbours in memory */
    uint32_t free_before, free_after; /* in the list of its bin; free_after also links unused nodes */
    uint32_t entry;                   /* 0: free */
    uint32_t reserved;
};
_Static_assert(sizeof(struct pool_extent) == 32, "pool_extent");

/* A member of a host. It lives as long as it holds the POSIX lock on byte `index` of the lock file. */
struct pool_process {
    uint32_t host; /* ATOMIC. Index + 1; 0 = the slot is free */
    uint32_t pid;  /* in the process's own pid namespace: to be shown, not relied on */
};

/* A host, as the others see it. */
struct pool_host_record {
    char name[WBPF_POOL_MAX_ID_BYTES + 1];
    uint64_t host_id;
    uint64_t incarnation; /* ATOMIC. Random, new whenever the first member joins; 0 = never joined */
    uint32_t access_class;
    uint32_t reserved;
    uint8_t pad[40];
    /* Virtual time, on a line of its own: */
    uint64_t clock_ns;         /* ATOMIC */
    uint64_t window_start_ns;  /* ATOMIC. Of the window in which transfers are being counted */
    uint64_t window_bytes;     /* ATOMIC */
    uint64_t rate_bytes_per_s; /* ATOMIC. Over the last window */
    uint64_t rate_at_ns;       /* ATOMIC. When that window ended */
    uint8_t pad1[24];
};
_Static_assert(sizeof(struct pool_host_record) == 192, "pool_host_record");

/* Wakes those who wait for objects whose hash ends in its index. */
struct pool_bell {
    uint32_t rings;   /* ATOMIC. Futex */
    uint32_t waiting; /* ATOMIC. Somebody may be */
};

struct pool_header {
    uint64_t magic; /* ATOMIC. Stored last by the creator */
    uint32_t endian;
    uint32_t version;
    uint64_t pool_id; /* random */
    uint64_t segment_bytes;
    uint32_t mutex_bytes; /* sizeof(pthread_mutex_t): differs between C libraries */
    uint32_t host_count;
    uint32_t entry_count;
    uint32_t bucket_count; /* power of two */
    uint32_t extent_count;
    uint32_t held_per_process;
    uint32_t line_count;
    uint32_t coherent;
    uint64_t entry_offset, bucket_offset, extent_offset, held_offset, order_offset, line_offset, data_offset;
    uint64_t seed;
    wbpf_latency_model latency;
    struct pool_host_record hosts[WBPF_POOL_MAX_HOSTS];
    struct pool_process processes[POOL_PROCESSES];
    struct pool_bell bells[POOL_BELLS];

    uint8_t pad[64];
    pthread_mutex_t mutex; /* robust; guards everything below, the entries, extents, chains and held tables */
    uint64_t next_generation; /* ATOMIC */
    uint64_t recoveries;
    /* DERIVED: */
    uint32_t free_entry;  /* head of the list of free entries */
    uint32_t free_extent; /* head of the list of unused extent nodes */
    uint32_t first_extent;
    uint32_t objects, unsealed, deleted_in_use, references;
    uint32_t used_lines;
    uint64_t bin_map[POOL_BINS / 64];
    uint32_t bins[POOL_BINS];
};

enum fault_state {
    FAULT_FREE,
    FAULT_ARMED,
    FAULT_DONE,
};

/* A fault armed for operations of one host. Filled under the pool's lock, `state` last; the counts are kept,
 * without it, by the operations that run into it. */
struct pool_fault {
    uint32_t state; /* ATOMIC. enum fault_state */
    uint32_t kind;
    uint64_t ticket;      /* its name */
    uint64_t object_hash; /* 0: any */
    double factor;
    uint8_t trace_id[16]; /* all zero: any */
    uint32_t limit;
    uint32_t operations;  /* ATOMIC. Operations hit; may pass `limit`, by those that came too late */
    uint32_t finished;    /* ATOMIC. Of these, how many have added to the counts below */
    uint32_t trace_count; /* ATOMIC. May pass WBPF_FAULT_TRACES */
    uint64_t lines_stale, lines_differing, lengthened_ns, generation; /* ATOMIC */
    uint8_t traces[WBPF_FAULT_TRACES][16];
};

/* A host's own file: its line cache and what its processes share. */
struct pool_host_file {
    uint64_t magic;
    uint64_t pool_id;
    uint64_t file_bytes;
    uint64_t line_offset, mirror_offset; /* 0 in a coherent pool, which has neither */
    uint64_t draws;                      /* ATOMIC. Jitter values drawn */
    uint64_t tickets;                    /* ATOMIC. Faults ever armed */
    uint32_t armed; /* ATOMIC. Faults in state ARMED: one load tells an operation that there are none */
    uint32_t reserved;
    struct pool_fault faults[POOL_FAULTS];
};

#endif

/* made by tools/generate.py from native/record_format.toml: do not edit */
#ifndef WBPF_FORMAT_H
#define WBPF_FORMAT_H
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
#ifndef __bpf__
#include <stddef.h>
#include <stdint.h>
#endif

#define WBPF_FORMAT_MAJOR         1 /* readers refuse another major version */
#define WBPF_FORMAT_MINOR         0 /* readers accept any minor version of their major one */
#define WBPF_SEGMENT_MAGIC        0x3147455346504277ULL /* the bytes wBPFSEG1 */
#define WBPF_ENDIAN_MARK          16909060              /* reads differently on a big-endian host */
#define WBPF_SEGMENT_HEADER_BYTES 8192                  /* the header and what is embedded in it */
#define WBPF_CALIBRATIONS         64                    /* clock calibrations kept, oldest overwritten */
#define WBPF_LEVEL_OVERRIDES      32    /* traces that can have a level of their own at one time */
#define WBPF_TRIGGER_LATERALS     12    /* lateral trace ids in one trigger slot */
#define WBPF_UNIT_BYTES           8     /* records and directory slots are multiples of it */
#define WBPF_WORD_FRONT_BITS      13    /* units used by records, from the front of the chunk */
#define WBPF_WORD_DIRECTORY_BITS  13    /* directory slots used, from the back of the chunk */
#define WBPF_WORD_RECORDS_BITS    13    /* records in the chunk */
#define WBPF_WORD_GENERATION_BITS 25    /* low bits of 2 * uses; odd while the chunk is being recycled */
#define WBPF_MAX_CHUNK_BYTES      65528 /* front and directory fit 13 bits of units (8191) */
#define WBPF_SCHEMA_ID_MASK       0x7fffffffu /* schema ids are FNV-1a of the descriptor, 31 bits */
#define WBPF_STAMPED      128 /* bit of record_header.kind: the record has a time stamp after its header */
#define WBPF_KERNEL_MAGIC 0x314e524b46504277ULL /* the bytes wBPFKRN1 */
#define WBPF_KERNEL_SLOT_BYTES 64               /* kernel records start at multiples of it */
#define WBPF_KERNEL_MAX_RECORD_BYTES                                                                         \
    512 /* longest kernel record; the ring has this much padding behind it, so that none wraps */

/* what a record says (record_header.kind without STAMPED) */
enum wbpf_kind {
    WBPF_KIND_BEGIN = 1,       /* a thread takes part in the trace: opens a root or continued span */
    WBPF_KIND_END = 2,         /* closes the span that a BEGIN opened */
    WBPF_KIND_EVENT = 3,       /* payload described by its schema */
    WBPF_KIND_BREADCRUMB = 4,  /* the trace went to, or came from, another host */
    WBPF_KIND_SPAN_BEGIN = 5,  /* opens a child span */
    WBPF_KIND_SPAN_END = 6,    /* closes a child span */
    WBPF_KIND_LOG = 7,         /* a log line: UTF-8 text */
    WBPF_KIND_METRIC = 8,      /* one metric point */
    WBPF_KIND_TRIGGER = 9,     /* a trigger fired for this trace; lateral trace ids follow */
    WBPF_KIND_ATTRIBUTES = 10, /* attributes of the current span, described by the schema */
    WBPF_KIND_RESUME = 11, /* the trace goes on here, inside the span named: new chunk, other thread, or after
                              another trace */
};

/* what a directory slot says (directory_slot.type) */
enum wbpf_slot {
    WBPF_SLOT_RUN_NEW = 1, /* a run of a trace whose id fills the next two slots */
    WBPF_SLOT_RUN =
        2, /* a run of a trace already in this directory; value is the index of its RUN_NEW slot */
    WBPF_SLOT_THREAD = 3, /* what follows was written by thread `value` (kernel tid) */
};

/* bits of directory_slot.flags */
enum wbpf_flag {
    WBPF_FLAG_CLEARED = 1, /* the trace is known to be good (on RUN_NEW; set by anyone, atomically) */
};

/* kinds of chunk */
enum wbpf_chunk {
    WBPF_CHUNK_THREAD = 1, /* written by one thread at a time: slotted page with one published word */
    WBPF_CHUNK_KERNEL = 2, /* written by eBPF programs that nest on a CPU: per-record commit words */
};

/* where kernel records lie (kernel_source.variant) */
enum wbpf_kernel_ring {
    WBPF_KERNEL_RING_ARRAY = 1, /* behind the kernel_ring_header, in the BPF_F_MMAPABLE array */
    WBPF_KERNEL_RING_PERF = 2,  /* in an overwritable perf ring a CPU; the array holds the headers alone */
};

/* bits of kernel_record_header.flags */
enum wbpf_kernel_flag {
    WBPF_KERNEL_FLAG_NESTED = 1, /* reserved while another record of the CPU was open */
};

/* where time stamps come from (segment_header.clock_kind) */
enum wbpf_clock {
    WBPF_CLOCK_TSC = 1,       /* x86-64 time stamp counter (constant and non-stop) */
    WBPF_CLOCK_CNTVCT = 2,    /* arm64 virtual counter */
    WBPF_CLOCK_MONOTONIC = 3, /* clock_gettime(CLOCK_MONOTONIC), nanoseconds */
};

/* breadcrumb.direction */
enum wbpf_direction {
    WBPF_DIRECTION_OUT = 1, /* sent by this host */
    WBPF_DIRECTION_IN = 2,  /* received by this host */
};

/* what a trigger slot asks for */
enum wbpf_verb {
    WBPF_VERB_DUMP = 1,   /* gather the trace and keep it */
    WBPF_VERB_REDUCE = 2, /* raise the level below which the trace's records are not written */
};

/* trigger_slot.state, low byte */
enum wbpf_trigger_state {
    WBPF_TRIGGER_STATE_FREE = 0,    /* may be claimed */
    WBPF_TRIGGER_STATE_CLAIMED = 1, /* being filled by a process; free again if that process dies */
    WBPF_TRIGGER_STATE_READY = 2,   /* filled */
    WBPF_TRIGGER_STATE_TAKEN = 3,   /* read by the agent, not yet acknowledged by the coordinator */
};

/* severity, OpenTelemetry's numbers; a record is written when its level is at least the threshold */
enum wbpf_level {
    WBPF_LEVEL_TRACE = 1,
    WBPF_LEVEL_DEBUG = 5,
    WBPF_LEVEL_INFO = 9,
    WBPF_LEVEL_WARN = 13,
    WBPF_LEVEL_ERROR = 17,
    WBPF_LEVEL_FATAL = 21,
    WBPF_LEVEL_OFF = 255, /* as a threshold: nothing is written */
};

/* the tick counter against two clocks, read together */
struct wbpf_calibration {
    uint64_t ticks;    /* counter */
    uint64_t mono_ns;  /* CLOCK_MONOTONIC */
    uint64_t unix_ns;  /* CLOCK_REALTIME */
    uint64_t error_ns; /* half the width of the reading window; 0 = entry not used */
};
_Static_assert(sizeof(struct wbpf_calibration) == 32, "calibration");

/* a trace with a level of its own */
struct wbpf_level_override {
    uint64_t trace_id_lo; /* bytes 0-7 of the trace id, as a little-endian integer */
    uint64_t trace_id_hi; /* bytes 8-15 */
    uint32_t level;       /* threshold; 0 = entry not used */
    uint32_t reserved;
};
_Static_assert(sizeof(struct wbpf_level_override) == 24, "level_override");

/* first bytes of a segment */
struct wbpf_segment_header {
    uint64_t magic;         /* SEGMENT_MAGIC, stored last by the creator */
    uint32_t endian;        /* ENDIAN_MARK */
    uint16_t major;         /* FORMAT_MAJOR */
    uint16_t minor;         /* FORMAT_MINOR */
    uint64_t segment_id;    /* random */
    uint64_t segment_bytes; /* size of the whole segment */
    uint64_t host_id;       /* FNV-1a 64 of the host's name */
    uint64_t incarnation;   /* of the host: random, new at each start of the host */
    uint64_t created_unix_ns;
    uint64_t hash_key0; /* random key of the trace-id hash */
    uint64_t hash_key1;
    uint64_t ticks_hz;    /* nominal frequency of the counter */
    uint32_t clock_kind;  /* enum clock */
    uint32_t chunk_bytes; /* size of a chunk's data, a multiple of 8, at most MAX_CHUNK_BYTES */
    uint32_t chunk_count;
    uint32_t chunk_stride;   /* distance of two chunks' data, a multiple of 4096 */
    uint32_t process_count;  /* process slots */
    uint32_t thread_count;   /* thread slots */
    uint32_t trigger_count;  /* trigger slots */
    uint32_t clear_count;    /* slots of the ring of cleared ids */
    uint64_t process_offset; /* of the first process_slot */
    uint64_t thread_offset;  /* of the first thread_slot */
    uint64_t trigger_offset; /* of the first trigger_slot */
    uint64_t clear_offset;   /* of the first clear_slot */
    uint64_t schema_offset;  /* of the schema area */
    uint64_t schema_bytes;   /* size of the schema area */
    uint64_t bitmap_offset;  /* one bit a chunk: wholly cleared, recycle first */
    uint64_t chunk_offset;   /* of the first chunk_header */
    uint64_t data_offset;    /* of the first chunk's data */
    char host[64];           /* name of the host, NUL-terminated */
    char service[64];        /* name of the service, NUL-terminated */
    uint8_t pad0[72];
    uint64_t lost_until; /* ATOMIC. Newest tick in any recycled chunk that was not wholly cleared; 0 = nothing
                            lost */
    uint32_t level;      /* ATOMIC. The host's threshold */
    uint32_t override_count; /* ATOMIC. Used entries of `overrides`; 0 = none need be looked at */
    uint8_t pad1[112];
    uint32_t hand;           /* ATOMIC. Where the search for a chunk to recycle starts */
    uint32_t cleared_chunks; /* ATOMIC. Bits set in the bitmap */
    uint8_t pad2[120];
    uint32_t trigger_hand;     /* ATOMIC. Where the search for a free trigger slot starts */
    uint32_t trigger_bell;     /* ATOMIC. Bumped after a trigger is READY; futex */
    uint64_t triggers_dropped; /* ATOMIC. No free trigger slot */
    uint64_t clear_next;       /* ATOMIC. Next slot of the ring of cleared ids */
    uint32_t schema_used;      /* ATOMIC. Bytes used in the schema area */
    uint32_t calibration_next; /* ATOMIC. Next entry of `calibrations` */
    uint64_t schema_owner;     /* ATOMIC. {process slot + 1 (low 32 bits), its generation}: who appends to the
                                  schema area; 0 = nobody */
    uint8_t pad3[88];
    struct wbpf_calibration calibrations[64]; /* ring */
    struct wbpf_level_override overrides[32];
};
_Static_assert(sizeof(struct wbpf_segment_header) == 3584, "segment_header");

/* a process that writes; live while it holds the lock on byte `index` of the lock file */
struct wbpf_process_slot {
    uint32_t generation;      /* ATOMIC. Bumped when a process takes the slot; 0 = never used */
    uint32_t pid;             /* in the process's own pid namespace */
    uint64_t started_unix_ns; /* when it took the slot */
    uint64_t refused;         /* ATOMIC. Records refused: re-entry, no chunk to be had */
    uint64_t truncated;       /* ATOMIC. Records whose payload was cut */
    uint32_t uid;
    uint32_t reserved;
    char name[32];          /* of the program, NUL-terminated */
    uint64_t writer_offset; /* from a thread's thread pointer to its pointer to its writer, modulo 2^64; the
                               same in all threads */
    uint32_t slot_offset; /* ATOMIC. In a writer: where the address of the thread's slot stands; 0 = not told.
                             eBPF programs follow both */
    uint32_t pid_namespace; /* inode number of the namespace that `pid` is of; 0 = not known */
    uint8_t pad0[40];
};
_Static_assert(sizeof(struct wbpf_process_slot) == 128, "process_slot");

/* what a thread works on now; read by the agent and by eBPF programs */
struct wbpf_thread_slot {
    uint64_t owner;    /* ATOMIC. {process slot + 1 (low 32 bits), its generation}; 0 = free */
    uint32_t sequence; /* ATOMIC. Odd while the slot changes */
    uint32_t tid;
    uint32_t level; /* ATOMIC. Threshold for this thread now: the host's or the trace's */
    uint32_t reserved;
    uint64_t trace_id_lo; /* current trace, all zero when none */
    uint64_t trace_id_hi;
    uint64_t span_id;
    uint8_t pad0[80];
};
_Static_assert(sizeof(struct wbpf_thread_slot) == 128, "thread_slot");

/* a request from an application to the agent */
struct wbpf_trigger_slot {
    uint64_t state; /* ATOMIC. {enum trigger_state (byte 0), process slot + 1 (bytes 2-3), process generation
                       (bytes 4-7)} */
    uint64_t ticks; /* when it fired */
    uint32_t trigger_id; /* schema id of the trigger's name */
    uint16_t lateral_count;
    uint8_t verb;  /* enum verb */
    uint8_t level; /* for REDUCE */
    uint64_t trace_id_lo;
    uint64_t trace_id_hi;
    uint64_t start_unix_ns; /* of the trace; 0 = not known */
    double value;           /* what was measured */
    uint64_t reserved;
    uint8_t laterals[192]; /* lateral_count ids of 16 bytes */
};
_Static_assert(sizeof(struct wbpf_trigger_slot) == 256, "trigger_slot");

/* a trace known to be good; lossy ring */
struct wbpf_clear_slot {
    uint64_t sequence; /* ATOMIC. Position + 1, stored last */
    uint64_t trace_id_lo;
    uint64_t trace_id_hi;
    uint64_t reserved;
};
_Static_assert(sizeof(struct wbpf_clear_slot) == 32, "clear_slot");

/* schema area: entries one after another, 8-byte aligned; text follows */
struct wbpf_schema_entry {
    uint32_t bytes; /* ATOMIC. Of the whole entry, padded to 8; stored last; 0 = end */
    uint32_t schema_id;
    uint32_t text_bytes; /* of the descriptor that follows: name, a space, fields */
    uint32_t reserved;
};
_Static_assert(sizeof(struct wbpf_schema_entry) == 16, "schema_entry");

/* one a chunk, apart from the chunks' data */
struct wbpf_chunk_header {
    uint64_t word;  /* ATOMIC. {generation, records, directory slots, front units} from high to low bits; the
                       one publication */
    uint64_t owner; /* ATOMIC. {process slot + 1 (low 32 bits), its generation}; 0 = not owned */
    uint64_t uses;  /* how often the chunk was taken; the record identity's generation */
    uint64_t open_ticks;       /* when it was taken */
    uint64_t close_ticks;      /* when it was closed; 0 while open */
    uint64_t recycled_records; /* records ever recycled from this chunk */
    uint64_t recycled_bytes;   /* bytes of them */
    uint64_t pending_records;  /* recycled_records as it will be after this use; valid while the generation is
                                  odd */
    uint64_t pending_bytes;
    uint32_t cleared_ids; /* ATOMIC. RUN_NEW slots flagged CLEARED */
    uint32_t ids;         /* RUN_NEW slots, stored at closing */
    uint32_t kind;        /* enum chunk */
    uint32_t process;     /* index of the process slot that wrote it */
    uint8_t pad0[40];
};
_Static_assert(sizeof(struct wbpf_chunk_header) == 128, "chunk_header");

/* slot i of a chunk's directory is the 8 bytes that end at chunk_bytes - 8 * i */
struct wbpf_directory_slot {
    uint16_t start; /* first unit of the run */
    uint8_t type;   /* enum slot */
    uint8_t flags;  /* ATOMIC. enum flag */
    uint32_t value; /* see enum slot */
};
_Static_assert(sizeof(struct wbpf_directory_slot) == 8, "directory_slot");

/* before every record of a thread chunk */
struct wbpf_record_header {
    uint16_t bytes;     /* header, time stamp and payload, without the padding to 8 */
    uint8_t kind;       /* enum kind | STAMPED */
    uint8_t level;      /* enum level */
    uint32_t schema_id; /* 0 = none */
};
_Static_assert(sizeof(struct wbpf_record_header) == 8, "record_header");

/* payload of BEGIN and SPAN_BEGIN */
struct wbpf_begin_payload {
    uint64_t span_id;
    uint64_t parent_span_id; /* 0 = root */
    uint64_t start_unix_ns;  /* when the trace began, by the clock of the host where it began; 0 = not known.
                                BEGIN alone */
};
_Static_assert(sizeof(struct wbpf_begin_payload) == 24, "begin_payload");

/* payload of END, SPAN_END and RESUME */
struct wbpf_end_payload {
    uint64_t span_id;
};
_Static_assert(sizeof(struct wbpf_end_payload) == 8, "end_payload");

/* payload of BREADCRUMB */
struct wbpf_breadcrumb_payload {
    uint64_t peer_host_id;   /* 0 = not known */
    uint64_t edge_span_id;   /* span id that crossed; the same on both hosts */
    uint64_t parent_span_id; /* the sender's current span; 0 on the receiver */
    uint32_t direction;      /* enum direction */
    uint32_t reserved;
};
_Static_assert(sizeof(struct wbpf_breadcrumb_payload) == 32, "breadcrumb_payload");

/* payload of METRIC; the schema names it */
struct wbpf_metric_payload {
    double value;
};
_Static_assert(sizeof(struct wbpf_metric_payload) == 8, "metric_payload");

/* payload of TRIGGER; lateral ids of 16 bytes follow */
struct wbpf_trigger_payload {
    double value; /* what was measured */
    uint32_t lateral_count;
    uint32_t reserved;
};
_Static_assert(sizeof(struct wbpf_trigger_payload) == 16, "trigger_payload");

/* first bytes of a kernel chunk: one a CPU, in a BPF_F_MMAPABLE array */
struct wbpf_kernel_ring_header {
    uint64_t magic;      /* KERNEL_MAGIC */
    uint64_t ring_bytes; /* power of two; KERNEL_MAX_RECORD_BYTES more follow as padding */
    uint64_t tail; /* ATOMIC. Position after the last reservation; never wraps; position modulo ring_bytes is
                      the place (perf ring: mono_ns of the newest refused record) */
    uint64_t key;  /* random; commit words are position ^ key */
    uint32_t cpu;
    uint32_t nested; /* ATOMIC. Records reserved while another was open on this CPU */
    uint64_t open; /* position + 1 of the innermost record that is reserved and not committed (perf ring: its
                      mono_ns); 0 = none */
    uint64_t records; /* ATOMIC. Records ever reserved */
    uint64_t refused; /* ATOMIC. Records that the kernel did not take (perf ring) */
};
_Static_assert(sizeof(struct wbpf_kernel_ring_header) == 64, "kernel_ring_header");

/* before every record of a kernel chunk */
struct wbpf_kernel_record_header {
    uint64_t commit; /* position ^ key, stored last; anything else: not written wholly (perf ring: mono_ns ^
                        key) */
    uint32_t bytes;  /* header and payload, without the padding to KERNEL_SLOT_BYTES */
    uint8_t kind;    /* enum kind; 0 = discarded */
    uint8_t level;
    uint8_t slots;        /* KERNEL_SLOT_BYTES that were reserved; the next record is behind them */
    uint8_t flags;        /* enum kernel_flag */
    uint64_t trace_id_lo; /* all zero: no trace */
    uint64_t trace_id_hi;
    uint64_t span_id;
    uint64_t mono_ns;  /* bpf_ktime_get_ns */
    uint64_t pid_tgid; /* bpf_get_current_pid_tgid */
    uint32_t schema_id;
    uint32_t reserved2;
};
_Static_assert(sizeof(struct wbpf_kernel_record_header) == 64, "kernel_record_header");

/* data of a segment's chunk of kind KERNEL: where its ring is; the loader is the process of the chunk */
struct wbpf_kernel_source {
    uint64_t magic;         /* KERNEL_MAGIC */
    uint32_t variant;       /* enum kernel_ring */
    uint32_t map_id;        /* of the BPF array that holds the kernel_ring_header of each CPU */
    uint64_t map_bytes;     /* of the array, as it is mapped */
    uint64_t header_offset; /* in the array: of this CPU's kernel_ring_header */
    uint64_t perf_id;       /* PERF: of the perf event, as the kernel numbers it */
    uint64_t perf_bytes;    /* PERF: of its ring, a power of two; one page precedes it */
    uint32_t map_fd;        /* the loader's descriptor of the array */
    uint32_t perf_fd;       /* PERF: the loader's descriptor of the perf event */
    char pin[192];          /* path of the array in a bpffs, NUL-terminated; empty = not pinned */
    uint8_t pad0[8];
};
_Static_assert(sizeof(struct wbpf_kernel_source) == 256, "kernel_source");

#endif

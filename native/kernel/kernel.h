/*
 * eBPF in the kernel: objects through libbpf, maps, probes of what the kernel can, and kernel chunks.
 * Functions that return int return 0 or more, or a negative errno. `why` (>= 512 bytes) explains.
 */
#ifndef WBPF_KERNEL_H
#define WBPF_KERNEL_H

#include "recorder/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WBPF_WHY_BYTES 512

/* ---- libbpf.c: the library, found at run time ---- */

/* -ENOSYS: built without its headers; -ENOENT: there is no libbpf.so.1. */
int wbpf_libbpf_find(char *why);
/* As the library calls itself, "v1.1"; NULL if it was not found. */
const char *wbpf_libbpf_version(void);

/*
 * ---- object.c: a file of eBPF programs and maps; one thread at a time. Not there in builds without libbpf's
 * headers: ask wbpf_libbpf_find() first. ----
 */
#define WBPF_OPTIONAL __attribute__((weak))

typedef struct wbpf_object wbpf_object;
typedef struct wbpf_link wbpf_link;

typedef struct wbpf_open_spec {
    const char *name;
    const char *btf_path; /* of the kernel's BTF; NULL: /sys/kernel/btf/vmlinux */
    const char *pin_root; /* a folder in a bpffs for maps that say LIBBPF_PIN_BY_NAME; NULL: /sys/fs/bpf */
} wbpf_open_spec;

typedef struct wbpf_program_info {
    const char *name, *section;
    uint32_t type, attach_type; /* enum bpf_prog_type, enum bpf_attach_type */
    int fd;                     /* < 0: not loaded */
    bool autoload;
} wbpf_program_info;

typedef struct wbpf_map_info {
    const char *name;
    uint32_t type, key_bytes, value_bytes, entries; /* type: enum bpf_map_type */
    uint32_t flags, key_type, value_type;           /* types of the object's BTF; 0: void */
    int fd;                                         /* < 0: not made */
} wbpf_map_info;

/* `elf` is copied. */
WBPF_OPTIONAL int wbpf_object_open(const void *elf, size_t bytes, const wbpf_open_spec *spec,
                                   wbpf_object **out);
WBPF_OPTIONAL void wbpf_object_close(wbpf_object *object);
/* What libbpf and the verifier said about the last call that failed. */
WBPF_OPTIONAL const char *wbpf_object_log(const wbpf_object *object);
/* The same of the last wbpf_object_open() of this thread. */
WBPF_OPTIONAL const char *wbpf_open_log(void);
/* As strerror(), also for libbpf's own errors. */
WBPF_OPTIONAL void wbpf_libbpf_strerror(int error, char *text, size_t room);

/* Before loading. -ENOENT: there is no such program or map; sizes: 0 leaves it as it is. */
WBPF_OPTIONAL int wbpf_object_autoload(wbpf_object *object, const char *program, bool on);
/* The function of the kernel, or of the program `other_fd` (else 0), that a program with BTF is for. */
WBPF_OPTIONAL int wbpf_object_aim(wbpf_object *object, const char *program, const char *function,
                                  int other_fd);
WBPF_OPTIONAL int wbpf_object_resize_map(wbpf_object *object, const char *map, uint32_t value_bytes,
                                         uint32_t entries);
WBPF_OPTIONAL int wbpf_object_flag_map(wbpf_object *object, const char *map, uint32_t flags);
/* No program that runs uses this map. */
WBPF_OPTIONAL int wbpf_object_drop_map(wbpf_object *object, const char *map);
/* Take a map that is there for the object's own; its kind, sizes and flags have to be the same. */
WBPF_OPTIONAL int wbpf_object_reuse_map(wbpf_object *object, const char *map, int fd);
WBPF_OPTIONAL int wbpf_object_load(wbpf_object *object);

/* -ENOENT behind the last. */
WBPF_OPTIONAL int wbpf_object_program(const wbpf_object *object, uint32_t index, wbpf_program_info *out);
WBPF_OPTIONAL int wbpf_object_map(const wbpf_object *object, uint32_t index, wbpf_map_info *out);

/* ---- variables.c: global variables, in .rodata, .data and .bss ---- */

typedef struct wbpf_variable_info {
    const char *name, *section;
    uint32_t offset, bytes;
    char kind; /* of its type: 'u', 'i', 'b' (bool), 'f', 'c' (char[]), or 'o' for anything else */
} wbpf_variable_info;

WBPF_OPTIONAL int wbpf_object_variable(const wbpf_object *object, uint32_t index, wbpf_variable_info *out);
/* -ENOENT: no such variable; -EINVAL: of another size; -EROFS: constant, and the object is loaded. Once it is
 * loaded, programs share the variable's memory. */
WBPF_OPTIONAL int wbpf_object_set(wbpf_object *object, const char *variable, const void *value, size_t bytes);
WBPF_OPTIONAL int wbpf_object_get(wbpf_object *object, const char *variable, void *value, size_t bytes);

/* ---- attach.c: links; a program is detached when its link is destroyed, and when this process ends ---- */

enum wbpf_place_kind {
    WBPF_PLACE_SECTION,        /* as the section says */
    WBPF_PLACE_RAW_TRACEPOINT, /* name */
    WBPF_PLACE_TRACE,          /* tp_btf, fentry, fexit, fmod_ret, freplace, lsm: chosen at loading */
    WBPF_PLACE_KPROBE,         /* name, offset, is_return */
    WBPF_PLACE_KPROBE_MULTI,   /* name: a glob; is_return */
    WBPF_PLACE_KSYSCALL,       /* name, is_return */
    WBPF_PLACE_UPROBE,         /* path, name (may be NULL), offset, pid, is_return */
    WBPF_PLACE_USDT,           /* path, provider, name, pid */
    WBPF_PLACE_PERF_EVENT,     /* fd of an event, which the link takes over */
    WBPF_PLACE_LINK,    /* fd or interface index, attach_type, flags: XDP, tcx, cgroups, network namespaces */
    WBPF_PLACE_ITER,    /* iter, or none */
    WBPF_PLACE_SOCKMAP, /* fd of a map, attach_type */
    WBPF_PLACE_SOCKET,  /* fd of a socket, which the link duplicates; flags: the SO_ATTACH_ option */
    WBPF_PLACE_TC,      /* interface index in fd, flags: BPF_TC_INGRESS or _EGRESS; kernels before 6.6 */
};

typedef struct wbpf_place {
    enum wbpf_place_kind kind;
    const char *path, *provider, *name;
    uint64_t offset, cookie;
    int pid; /* -1: every process */
    int fd;
    uint32_t attach_type, flags;
    bool is_return;
    struct {
        int map_fd, cgroup_fd; /* 0: none */
        uint32_t pid;
    } iter;
} wbpf_place;

/* Where the kernel keeps no link, so that what a process attached stays when it is killed. */
typedef struct wbpf_tc_filter {
    int ifindex;
    uint32_t direction, handle, priority, program_id;
} wbpf_tc_filter;

WBPF_OPTIONAL int wbpf_object_attach(wbpf_object *object, const char *program, const wbpf_place *place,
                                     wbpf_link **out);
/* Make the operations of a map of kind struct_ops known. -EOPNOTSUPP: it was not made with BPF_F_LINK (kernel
 * 6.4), without which they would outlive this process. */
WBPF_OPTIONAL int wbpf_object_attach_struct_ops(wbpf_object *object, const char *map, wbpf_link **out);
WBPF_OPTIONAL void wbpf_link_destroy(wbpf_link *link);
/* -1: it has none. */
WBPF_OPTIONAL int wbpf_link_fd(const wbpf_link *link);
/* What a link of kind WBPF_PLACE_TC has made; false: it is of another kind. */
WBPF_OPTIONAL bool wbpf_link_tc_filter(const wbpf_link *link, wbpf_tc_filter *out);
/* Remove such a filter of a process that is gone. -ENOENT: it is gone, or another program's. */
WBPF_OPTIONAL int wbpf_tc_filter_remove(const wbpf_tc_filter *filter);
/* Does the kernel have programs or maps of a type? 1 yes, 0 no, negative: could not tell. */
WBPF_OPTIONAL int wbpf_probe_program(uint32_t program_type);
WBPF_OPTIONAL int wbpf_probe_map_type(uint32_t map_type);

/* ---- bpf_syscall.c: maps, by descriptor. Sizes are the caller's to check; flags: BPF_NOEXIST and the like
 * ---- */

int wbpf_map_lookup(int fd, const void *key, void *value, uint64_t flags);
int wbpf_map_update(int fd, const void *key, const void *value, uint64_t flags);
int wbpf_map_delete(int fd, const void *key);
/* `key` NULL: the first. -ENOENT behind the last. */
int wbpf_map_next_key(int fd, const void *key, void *next);
/* Kernel 5.14, queues and stacks (whose key is NULL) before. */
int wbpf_map_lookup_and_delete(int fd, const void *key, void *value, uint64_t flags);

enum wbpf_batch { WBPF_BATCH_LOOKUP, WBPF_BATCH_LOOKUP_AND_DELETE, WBPF_BATCH_UPDATE, WBPF_BATCH_DELETE };

typedef struct wbpf_map_batch_spec {
    const void *from; /* the cursor of the call before; NULL: begin */
    void *cursor;     /* for the next call: as many bytes as a key, at least 4 */
    void *keys, *values;
    uint32_t count; /* room for so many; afterwards how many were done, also after an error */
    uint64_t flags;
} wbpf_map_batch_spec;

/* Kernel 5.6. -ENOENT: done, and these were the last. */
int wbpf_map_batch(int fd, enum wbpf_batch what, wbpf_map_batch_spec *spec);

typedef struct wbpf_map_facts {
    uint32_t type, key_bytes, value_bytes, entries, flags, id;
    char name[16];
} wbpf_map_facts;

int wbpf_map_ask(int fd, wbpf_map_facts *out);
bool wbpf_map_is_per_cpu(uint32_t type);
/* The bytes that the calls above read and write for a value: per-CPU maps have one, padded to 8 bytes, for
 * each possible processor. */
uint64_t wbpf_map_value_span(uint32_t type, uint32_t value_bytes);

/* Behind the highest possible processor; their number. */
int wbpf_possible_cpus(void);
int wbpf_cpu_count(void);

typedef struct wbpf_program_run_spec {
    const void *data, *context;
    void *data_out, *context_out;
    uint32_t data_bytes, context_bytes, repeat;
    uint32_t data_out_bytes, context_out_bytes; /* room; afterwards, how many there are */
    uint32_t result, duration_ns;
} wbpf_program_run_spec;

/* BPF_PROG_TEST_RUN. -ENOSPC: there was more data than room. */
int wbpf_program_run(int fd, wbpf_program_run_spec *spec);

/*
 * ---- ring.c: reading ring buffers (BPF_MAP_TYPE_RINGBUF) and perf buffers (BPF_MAP_TYPE_PERF_EVENT_ARRAY);
 * a ring belongs to one thread at a time ----
 */

typedef struct wbpf_ring_reader wbpf_ring_reader;

/* Before each record's data in a batch; the data is padded to 8 bytes. */
struct wbpf_frame {
    uint32_t bytes; /* without padding; of perf buffers, the kernel's own padding counts */
    uint32_t cpu;   /* of perf buffers */
};

/* The map stays the caller's, and open. `perf_pages` for each processor, a power of two; 0: 64. */
int wbpf_ring_open(int map_fd, uint32_t perf_pages, wbpf_ring_reader **out);
/* A ring buffer `at` in a file, with the kernel's pages; it can't be waited for. */
int wbpf_ring_open_file(int fd, size_t at, uint64_t bytes, wbpf_ring_reader **out);
void wbpf_ring_close(wbpf_ring_reader *ring);
/* Take whole records, as frames; bytes written, 0: there is none. -EMSGSIZE: the next does not fit, and needs
 * as many bytes as wbpf_ring_next_bytes() says. */
int64_t wbpf_ring_read(wbpf_ring_reader *ring, void *frames, size_t room);
uint64_t wbpf_ring_next_bytes(const wbpf_ring_reader *ring);
/* Take records in place, at most `max`; how many. `visit` ends it, behind its record, by returning nonzero.
 * Data that is not contiguous (perf buffers alone) is copied before. */
typedef int (*wbpf_ring_visit)(void *context, const void *data, uint32_t bytes, uint32_t cpu);
int64_t wbpf_ring_for_each(wbpf_ring_reader *ring, uint32_t max, wbpf_ring_visit visit, void *context);
/* Is there a record to read? */
bool wbpf_ring_pending(const wbpf_ring_reader *ring);
/* Records that did not fit, as far as they were met by reading. -EOPNOTSUPP: ring buffers don't tell, their
 * programs see the reservation fail. */
int64_t wbpf_ring_lost(const wbpf_ring_reader *ring);

/* ---- wait_set.c: waiting for several rings; each has its turn ---- */

typedef struct wbpf_wait_set wbpf_wait_set;
typedef struct wbpf_user_map wbpf_user_map; /* maps/maps.h */

int wbpf_wait_set_create(wbpf_wait_set **out);
void wbpf_wait_set_destroy(wbpf_wait_set *set);
/* A ring leaves before it is closed. */
int wbpf_wait_set_add(wbpf_wait_set *set, const wbpf_ring_reader *ring, uint32_t tag);
/* The same of a ring in user space; a set has rings of one kind only. */
int wbpf_wait_set_add_shared(wbpf_wait_set *set, const wbpf_ring_reader *ring, wbpf_user_map *map,
                             uint32_t tag);
void wbpf_wait_set_remove(wbpf_wait_set *set, const wbpf_ring_reader *ring);
/* A descriptor with events of epoll, beside rings of either kind. */
int wbpf_wait_set_add_fd(wbpf_wait_set *set, int fd, uint32_t events, uint32_t tag);
void wbpf_wait_set_remove_fd(wbpf_wait_set *set, int fd);
/* Tags of rings with records and of descriptors with events, at most `max`, starting behind where the last
 * call ended; 0: time is up, or it was woken. timeout_ms < 0: no limit. */
int wbpf_wait_set_wait(wbpf_wait_set *set, int timeout_ms, uint32_t *tags, uint32_t max);
/* End the wait that is under way or comes next; from any thread or signal handler. */
void wbpf_wait_set_wake(wbpf_wait_set *set);
/* Readable when a wait might find something; for event loops, with rings of the kernel's. */
int wbpf_wait_set_fd(const wbpf_wait_set *set);

/* ---- user_ring.c: writing to programs (BPF_MAP_TYPE_USER_RINGBUF), one thread at a time ---- */

typedef struct wbpf_user_ring wbpf_user_ring;

int wbpf_user_ring_open(int map_fd, wbpf_user_ring **out);
/* The same pages in a file, from `at` on; `size` is that of the data. */
int wbpf_user_ring_open_file(int fd, uint64_t at, uint64_t size, wbpf_user_ring **out);
void wbpf_user_ring_close(wbpf_user_ring *ring);
/* -ENOSPC: the program has not taken enough yet; -E2BIG: it never fits. */
int wbpf_user_ring_submit(wbpf_user_ring *ring, const void *data, uint32_t bytes);

/* ---- files.c ---- */

int wbpf_pin(int fd, const char *path);
/* A descriptor of what is pinned there. */
int wbpf_pinned(const char *path);
/* A descriptor of an iterator's output, to be read until its end. */
int wbpf_iter_open(int link_fd);
/* The folder of tracefs; without a mounted one, a mount of one's own that nobody else sees. */
int wbpf_tracefs_open(void);
/* An event of one processor (-1: any) or process (-1: every). */
int wbpf_perf_event_open(uint32_t type, uint64_t config, uint64_t frequency_hz, int pid, int cpu);

/* ---- probes.c ---- */

/* Probes: 1 yes, 0 no, negative: could not tell. */
int wbpf_probe_map(uint32_t type, uint32_t value_bytes, uint32_t flags);
/* May programs of a type call a helper? */
int wbpf_probe_helper(uint32_t program_type, uint32_t helper);
/* An atomic add that returns the old value: kernel 5.12, on arm64 5.18. */
int wbpf_probe_fetch_add(void);

/* ---- tracees.c: processes that eBPF programs can ask what they work on ---- */

typedef struct wbpf_tracee {
    uint32_t tgid; /* as this process sees it */
    uint32_t slot_offset;
    uint64_t owner, writer_offset;
    char name[32];
} wbpf_tracee;

/* The live processes of a segment; returns how many, at most `max`. */
uint32_t wbpf_segment_tracees(const wbpf_segment *segment, wbpf_tracee *out, uint32_t max);

/* ---- rings.c: kernel rings as a segment ---- */

typedef struct wbpf_rings wbpf_rings;

typedef struct wbpf_rings_spec {
    const char *path; /* of the segment, absolute, HOST/NAME.seg; the folder exists */
    const char *host, *service;
    const char *pin;     /* in a bpffs, or NULL */
    int rings_fd;        /* of the map wbpf_rings */
    int processes_fd;    /* of the map wbpf_processes */
    int perf_fd;         /* of the map wbpf_perf_rings, < 0: rings are in the array */
    uint64_t ring_bytes; /* of each CPU's; an array was resized for it */
} wbpf_rings_spec;

typedef struct wbpf_ring_counters {
    uint32_t cpu;
    uint64_t records, bytes, nested, refused;
} wbpf_ring_counters;

/* -EBUSY: a live process has a segment of this name. */
int wbpf_rings_create(const wbpf_rings_spec *spec, wbpf_rings **out, char *why);
/* Let go of the rings; without `keep` the segment and the pin go too. */
void wbpf_rings_destroy(wbpf_rings *rings, bool keep);
int wbpf_rings_add_schema(wbpf_rings *rings, const char *name, const char *fields);
/* From now on programs know of these processes and of no others. */
int wbpf_rings_follow(wbpf_rings *rings, const wbpf_tracee *tracees, uint32_t count);
uint32_t wbpf_rings_counters(const wbpf_rings *rings, wbpf_ring_counters *out, uint32_t max);

#ifdef __cplusplus
}
#endif
#endif

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

typedef struct wbpf_program_info {
    const char *name, *section;
    uint32_t type; /* enum bpf_prog_type */
    int fd;        /* < 0: not loaded */
} wbpf_program_info;

typedef struct wbpf_map_info {
    const char *name;
    uint32_t type, key_bytes, value_bytes, entries; /* type: enum bpf_map_type */
    int fd;                                         /* < 0: not made */
} wbpf_map_info;

/* `elf` is copied. `btf_path`: of the kernel's BTF, NULL for /sys/kernel/btf/vmlinux. */
WBPF_OPTIONAL int wbpf_object_open(const void *elf, size_t bytes, const char *name, const char *btf_path,
                                   wbpf_object **out);
WBPF_OPTIONAL void wbpf_object_close(wbpf_object *object);
/* What libbpf and the verifier said about the last call that failed. */
WBPF_OPTIONAL const char *wbpf_object_log(const wbpf_object *object);
/* The same of the last wbpf_object_open() of this thread. */
WBPF_OPTIONAL const char *wbpf_open_log(void);
/* Give a variable in .rodata, .data or .bss its value, before loading. -ENOENT: no such variable; -EINVAL: of
 * another size. */
WBPF_OPTIONAL int wbpf_object_set(wbpf_object *object, const char *variable, const void *value, size_t bytes);
/* Before loading; 0: leave as it is. */
WBPF_OPTIONAL int wbpf_object_resize_map(wbpf_object *object, const char *map, uint32_t value_bytes,
                                         uint32_t entries);
/* Before loading: no program that runs uses this map. */
WBPF_OPTIONAL int wbpf_object_drop_map(wbpf_object *object, const char *map);
WBPF_OPTIONAL int wbpf_object_load(wbpf_object *object);
/* -ENOENT behind the last. */
WBPF_OPTIONAL int wbpf_object_program(const wbpf_object *object, uint32_t index, wbpf_program_info *out);
WBPF_OPTIONAL int wbpf_object_map(const wbpf_object *object, uint32_t index, wbpf_map_info *out);
/* As its section says. */
WBPF_OPTIONAL int wbpf_object_attach(wbpf_object *object, const char *program, wbpf_link **out);
/* A program of type perf_event to a clock that ticks every `period_ns` of a CPU's time. */
WBPF_OPTIONAL int wbpf_object_attach_clock(wbpf_object *object, const char *program, uint64_t period_ns,
                                           uint32_t cpu, wbpf_link **out);
WBPF_OPTIONAL void wbpf_link_destroy(wbpf_link *link);
/* May programs of a type call a helper? 1 yes, 0 no, negative: could not tell. */
WBPF_OPTIONAL int wbpf_probe_helper(uint32_t program_type, uint32_t helper);

/* ---- bpf_syscall.c: what needs no library ---- */

int wbpf_map_lookup(int fd, const void *key, void *value);
int wbpf_map_update(int fd, const void *key, const void *value);
int wbpf_map_delete(int fd, const void *key);
/* `key` NULL: the first. -ENOENT behind the last. */
int wbpf_map_next_key(int fd, const void *key, void *next);
int wbpf_possible_cpus(void);
/* Run a raw tracepoint program once, on this CPU, with these arguments; its result in *result. */
int wbpf_program_run(int fd, const uint64_t *arguments, uint32_t count, uint32_t *result);

/* Probes: 1 yes, 0 no, negative: could not tell. */
int wbpf_probe_map(uint32_t type, uint32_t value_bytes, uint32_t flags);
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

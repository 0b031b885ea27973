/*
 * WebAssembly modules and what they may call: guests run on Wasmtime, their hot imports are C on the guest's
 * memory, the others ask Python. Functions that return int return 0 or more, or a negative errno; `why`
 * (WBPF_WASM_WHY_BYTES) explains.
 */
#ifndef WBPF_HOSTCALLS_H
#define WBPF_HOSTCALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WBPF_WASM_WHY_BYTES 2048

/* ---- wasmtime.c ---- */

/* Once a process, before all else here. */
int wbpf_wasmtime_open(const char *path, char *why);
/* WebAssembly's text format to a module; for tests and tools. */
int wbpf_wasm_from_text(const char *text, size_t bytes,
                        void (*take)(void *to, const char *wasm, size_t bytes), void *to, char *why);

/* ---- module.c: compiled code; any number of guests may run it, in any threads ---- */

typedef struct wbpf_wasm_module wbpf_wasm_module;

typedef struct wbpf_wasm_import {
    char module[128], name[128];
} wbpf_wasm_import;

int wbpf_wasm_module_compile(const void *wasm, size_t bytes, bool with_fuel, wbpf_wasm_module **out,
                             char *why);
/* What wbpf_wasm_module_save() wrote; the file is trusted. */
int wbpf_wasm_module_load(const char *path, bool with_fuel, wbpf_wasm_module **out, char *why);
int wbpf_wasm_module_save(wbpf_wasm_module *module, int fd, char *why);
/* -ENOENT behind the last. */
int wbpf_wasm_module_import(const wbpf_wasm_module *module, uint32_t index, wbpf_wasm_import *out);
/* Freed when the last guest is gone too. */
void wbpf_wasm_module_release(wbpf_wasm_module *module);

/* ---- guest.c: one run of a module ---- */

typedef struct wbpf_guest wbpf_guest;

/* An argument of a call that Python answers. `data` is in the guest's memory: bytes to read, or room to
 * write. */
typedef struct wbpf_guest_argument {
    char kind; /* as in abi.h */
    uint8_t *data;
    uint32_t bytes;
    int64_t number;
} wbpf_guest_argument;

#define WBPF_GUEST_MAX_ARGUMENTS 8
/* A call that returns this ends its guest; wbpf_guest_refuse() has said why. */
#define WBPF_GUEST_END INT64_MIN

typedef int64_t (*wbpf_guest_call)(void *user, const char *function, wbpf_guest_argument *arguments,
                                   uint32_t count);

typedef struct wbpf_guest_folder {
    const char *host, *guest;
    bool read_only;
} wbpf_guest_folder;

typedef struct wbpf_guest_spec {
    const char *const *arguments;
    uint32_t argument_count;
    const char *const *names, *const *values; /* of the environment */
    uint32_t variable_count;
    const wbpf_guest_folder *folders;
    uint32_t folder_count;
    const char *const *addresses; /* patterns of those that it may connect to */
    uint32_t address_count;
    bool with_stdin;
    int stdout_fd, stderr_fd; /* not owned */
    uint64_t memory_bytes;
    uint64_t deadline_ns; /* of computing between two waits; 0: none */
    uint64_t fuel;        /* for a module with fuel */
    bool tells_waiting;   /* `call` is told "waits" once, when it waits for the first time */
    wbpf_guest_call call;
    /* Takes what it writes to 1 and 2; NULL: the descriptors above do. */
    ssize_t (*write)(void *user, int fd, const void *bytes, size_t size);
    /* Called before last_error tells the words; NULL: they are known. */
    void (*explain)(void *user);
    void *user;
} wbpf_guest_spec;

typedef enum wbpf_guest_cause {
    WBPF_GUEST_EXITED,   /* with a status: `_start` returned, or proc_exit */
    WBPF_GUEST_TRAPPED,  /* it did what a module can't */
    WBPF_GUEST_REFUSED,  /* it did what a host does not allow */
    WBPF_GUEST_OVERTIME, /* its deadline or fuel is used up */
    WBPF_GUEST_STOPPED,  /* wbpf_guest_stop() */
} wbpf_guest_cause;

typedef struct wbpf_guest_end {
    wbpf_guest_cause cause;
    int exit_status;
    char why[WBPF_WASM_WHY_BYTES];
    char trace[WBPF_WASM_WHY_BYTES]; /* functions of the module, the innermost first, a line each */
} wbpf_guest_end;

int wbpf_guest_create(wbpf_wasm_module *module, const wbpf_guest_spec *spec, wbpf_guest **out, char *why);
/* Instantiate it and call `_start`, once; comes back when the guest has ended. */
void wbpf_guest_run(wbpf_guest *guest, wbpf_guest_end *end);
/* From any thread: ask it to end. Records that are there it still gets, then waiting is -EINTR. */
void wbpf_guest_interrupt(wbpf_guest *guest);
/* From any thread: end it where it is; soon, unless it is in a host function of WASI's that blocks. */
void wbpf_guest_stop(wbpf_guest *guest);
/* Say why, and end the guest if `ends`; else it is for last_error. During its calls. */
void wbpf_guest_refuse(wbpf_guest *guest, bool ends, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Which call failed last, and why; NULL: none did. */
const char *wbpf_guest_failed(const wbpf_guest *guest, const char **why);
/* Whether the module asked why it failed, so most likely said it. */
bool wbpf_guest_has_told(const wbpf_guest *guest);
uint64_t wbpf_guest_memory_bytes(const wbpf_guest *guest);
/* Not while it runs. */
void wbpf_guest_destroy(wbpf_guest *guest);

/* Whether it is a pattern of addresses: `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:/PATH`, where HOST may be `*`
 * or
 * `*.DOMAIN`, PORT may be `*`, and PATH may end with a name that is `*`. */
bool wbpf_is_address_pattern(const char *text);

/* The functions of the ABI, in the order of abi.h; how many there are. */
uint32_t wbpf_guest_function(uint32_t index, const char **name);

/* ---- handles.c: numbers that stand for things of the host; on the guest's thread, or when it has ended ----
 */

/* A handle for something that Python keeps; kinds as in abi.h. `owner`: the object that it goes with, or 0.
 * WBPF_GUEST_END as an int: there are too many. */
int32_t wbpf_guest_add(wbpf_guest *guest, char kind, int32_t owner);
/* A map in the kernel; the descriptor stays the caller's. */
int32_t wbpf_guest_add_map(wbpf_guest *guest, int32_t owner, int fd, char *why);
/* A map that is not made yet. Give it its descriptor when the object is loaded. */
int wbpf_guest_set_map(wbpf_guest *guest, int32_t handle, int fd, char *why);
/* The same for one in user space, which the handle shares. */
struct wbpf_user_map;
int wbpf_guest_set_user_map(wbpf_guest *guest, int32_t handle, struct wbpf_user_map *map);
/* Ends the handle and all that go with it. */
void wbpf_guest_release(wbpf_guest *guest, int32_t handle);
/* How many there are. */
uint32_t wbpf_guest_handles(const wbpf_guest *guest);

/* ---- rings.c and windows.c ---- */

int32_t wbpf_guest_open_ring(wbpf_guest *guest, int32_t map, bool in_place);
int64_t wbpf_guest_map_window(wbpf_guest *guest, int32_t map, bool writable);

/*
 * ---- objects.c, links.c: what a guest asks for of objects, programs, links and what it says, answered
 * without Python: for objects in the kernel. ----
 */

typedef struct wbpf_host wbpf_host;

typedef struct wbpf_host_object {
    const char *name;
    const void *elf;
    size_t bytes;
} wbpf_host_object;

typedef struct wbpf_host_param {
    const char *name, *text;
    const char *variable; /* "" for none */
    char type;            /* b bool, i int, u uint, d duration, e enum, f float, s string */
    uint64_t bits;        /* of the value; a float's as a double; not for strings */
} wbpf_host_param;

typedef struct wbpf_host_event {
    const char *name;
    uint32_t bytes;
} wbpf_host_event;

/* Why a call failed, for who finds the words: texts, each behind its size as a u32. The first says what kind
 * of failure it is, the second is the errno; the others are as `wbpf.cli.launched` reads them. */
typedef struct wbpf_host_failure {
    char *texts;
    size_t bytes, room;
} wbpf_host_failure;

typedef struct wbpf_host_spec {
    const wbpf_host_object *objects;
    const wbpf_host_param *params;
    const wbpf_host_event *events;
    const char *const *unwanted; /* programs that are not to be loaded */
    const char *const *places;   /* patterns of what programs may be attached to */
    const uint32_t *types;       /* of programs that may be loaded */
    uint32_t object_count, param_count, event_count, unwanted_count, place_count, type_count;
    const void *filter; /* for the variable wbpf_filter of objects; NULL: all is traced */
    size_t filter_bytes;
    bool may_all; /* any program, to any place */
    /* How many of the records were taken, or WBPF_GUEST_END. */
    int64_t (*emit)(void *user, uint32_t kind, const void *records, uint32_t bytes);
    void (*log)(void *user, uint32_t level, const char *text, uint32_t bytes);
    /* Finds the words (WBPF_WASM_WHY_BYTES) and the number that the guest gets. */
    int (*explain)(void *user, const wbpf_host_failure *failure, char *text);
    void *user;
} wbpf_host_spec;

/* The spec and what it points to stay the caller's. */
wbpf_host *wbpf_host_create(const wbpf_host_spec *spec);
/* Once its guest is made, whose `call` and `explain` are these. */
void wbpf_host_serve(wbpf_host *host, wbpf_guest *guest);
int64_t wbpf_host_call(void *host, const char *function, wbpf_guest_argument *arguments, uint32_t count);
void wbpf_host_explain(void *host);
/* Of the last call that failed with something to explain; NULL: none did. */
const wbpf_host_failure *wbpf_host_failed(const wbpf_host *host);
/* Detach and let go of all, when the guest has ended. */
void wbpf_host_destroy(wbpf_host *host);

#ifdef __cplusplus
}
#endif
#endif

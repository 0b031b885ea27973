/* What the files of this folder share. */
#ifndef WBPF_HOSTCALLS_GUEST_H
#define WBPF_HOSTCALLS_GUEST_H

#include "abi.h"
#include "hostcalls.h"
#include "kernel/kernel.h"
#include "wasmtime.h"
#include <pthread.h>
#include <stdatomic.h>

struct wbpf_wasm_module {
    wasm_engine_t *engine;
    wasmtime_module_t *code;
    wasm_importtype_vec_t imports;
    bool with_fuel;
    _Atomic uint32_t users;
};

/* ---- maps.c ---- */

struct guest_map;

/* Where the entries of a map are: in the kernel, or in user space (user_maps.c). */
struct map_backend {
    int (*lookup)(const struct guest_map *map, const void *key, void *value, uint64_t flags);
    int (*update)(const struct guest_map *map, const void *key, const void *value, uint64_t flags);
    int (*delete)(const struct guest_map *map, const void *key);
    int (*next_key)(const struct guest_map *map, const void *key, void *next);
    int (*lookup_and_delete)(const struct guest_map *map, const void *key, void *value, uint64_t flags);
    int (*batch)(const struct guest_map *map, enum wbpf_batch what, wbpf_map_batch_spec *spec);
};

struct guest_map {
    const struct map_backend *backend;
    int fd;              /* our own, or that of `user`; < 0: not made yet */
    wbpf_user_map *user; /* NULL: a map of the kernel's */
    struct abi_map_info info;
    bool has_keys, holds_descriptors, keyed_by_descriptors;
};

int guest_map_init(struct guest_map *map, int fd, char *why);
void guest_map_init_user(struct guest_map *map, wbpf_user_map *user);
extern const struct map_backend user_maps;
void guest_map_deinit(struct guest_map *map);

/* ---- handles.c ---- */

struct handle {
    char kind; /* 0: free */
    uint32_t generation;
    int32_t owner;
    uint32_t next_free;
    struct guest_map *map;  /* m */
    wbpf_ring_reader *ring; /* r */
    int32_t map_of_ring, ring_of_map;
    wbpf_wait_set *alone; /* for a poll of this ring only */
    bool is_alone, was_in_place;
    uint32_t window; /* address of a ring read in place; 0: it is read in batches */
    int fd;          /* k */
    bool is_datagram, is_watched;
};

struct handle *guest_find(wbpf_guest *guest, int32_t handle, char kind);
int32_t guest_number(const wbpf_guest *guest, const struct handle *entry);
/* ---- rings.c ---- */

/* Until the set has something (how much, into `ready`), the time is over (0), or the guest is to end
 * (-EINTR). */
int guest_wait_on(wbpf_guest *guest, wbpf_wait_set *set, int timeout_ms, uint32_t *ready, uint32_t room);

/* Until the time is over or the guest is stopped. */
int guest_sleep(wbpf_guest *guest, int timeout_ms);
void guest_close_ring(wbpf_guest *guest, struct handle *entry);
/* For wasm_bpf: open it if it is not, and hand its records to a function of the module. */
/* Refuses, and ends, a guest that closes what it polls. */
bool guest_closes_polled(wbpf_guest *guest, int32_t handle);
int64_t guest_poll(wbpf_guest *guest, int32_t map, int timeout_ms, wbpf_ring_visit visit, void *context);

void guest_handles_deinit(wbpf_guest *guest);

/* ---- addresses.c: where a guest connects to, and the patterns of that ---- */

#define ADDRESS_BYTES 300

struct address {
    char kind;       /* t tcp, u udp, x unix */
    bool is_number;  /* the host is, in its usual form; not a name */
    uint16_t port;   /* 0: any, in a pattern */
    char where[256]; /* host, in lower case, or path; in a pattern `*`, `*.DOMAIN`, `/FOLDER/` `*` */
};

int address_parse(const char *text, size_t bytes, bool is_pattern, struct address *out);
void address_write(const struct address *address, char text[ADDRESS_BYTES]);
bool address_matches(const struct address *address, const struct address *pattern);

/* ---- sockets.c, lookup.c ---- */

/* Patterns that can be read, or -ENOMEM. */
int guest_grant_addresses(wbpf_guest *guest, const char *const *patterns, uint32_t count);
void guest_close_socket(wbpf_guest *guest, struct handle *entry);
/* Until a descriptor has one of the events of epoll: 0; -EAGAIN: it is `end_ns`; or -EINTR. */
int guest_wait_for_fd(wbpf_guest *guest, int fd, uint32_t events, uint64_t end_ns);

struct addrinfo;
struct lookup;
/* The addresses of a host, for lookup_drop() in the end. getaddrinfo() can't be ended: it runs in a thread of
 * its own, which is left behind when the time is over. A guest has one lookup at most. */
int lookup_run(wbpf_guest *guest, const struct address *address, uint64_t end_ns, struct lookup **out);
const struct addrinfo *lookup_found(const struct lookup *lookup);
void lookup_drop(struct lookup *lookup);

/* ---- guest.c ---- */

struct wbpf_guest {
    wbpf_wasm_module *module;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_linker_t *linker;
    wasmtime_instance_t instance;
    wasmtime_memory_t memory;
    uint8_t *memory_base;
    uint64_t memory_bytes; /* at least so many */
    bool has_memory;
    int stdout_fd, stderr_fd;
    wbpf_guest_call call;
    ssize_t (*write)(void *user, int fd, const void *bytes, size_t size);
    void (*explain)(void *user);
    void *user;

    struct handle *handles;
    uint32_t handle_room, handle_count, first_free;

    wbpf_wait_set *waiting, *waits_on; /* of all rings; the one under way, by the mutex */
    struct address *addresses;         /* patterns of those that it may connect to */
    uint32_t address_count, socket_count;
    struct lookup *lookup; /* of a name, that was left behind */
    int32_t polled;        /* the ring whose records a callback gets now, or 0 */
    bool tells_waiting;

    /* Why it has to end, written once, on its own thread or before the flag below. */
    bool has_exited;
    int exit_status;
    char why[WBPF_WASM_WHY_BYTES];
    bool is_refused;
    char last_error[WBPF_WASM_WHY_BYTES]; /* of the calls that speak */
    const char *failed;                   /* the last call that did */
    int64_t failed_with;
    bool has_spoken, failed_speaking;
    bool has_told; /* the module asked why it failed */
    struct binding *bindings;

    _Atomic bool is_stopped, is_interrupted, is_overtime, has_violated;

    /* The watchdog of its deadline. */
    uint64_t deadline_ns;
    _Atomic uint64_t overtime_at_ns; /* UINT64_MAX: it waits */
    pthread_t watchdog;
    bool has_watchdog, watchdog_ends;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

uint64_t monotonic_ns(void);
/* Around waiting of the host for a guest: its deadline starts anew. */
void guest_pause(wbpf_guest *guest);
void guest_resume(wbpf_guest *guest);
uint8_t *guest_look_again(wbpf_guest *guest, uint32_t at, uint32_t bytes);

/* A range of its memory, whole; NULL if it is not. Memory never moves or shrinks: 32-bit memories reserve all
 * that they could become. */
static inline uint8_t *guest_range(wbpf_guest *guest, uint32_t at, uint32_t bytes)
{
    if (__builtin_expect((uint64_t)at + bytes <= guest->memory_bytes, 1))
        return guest->memory_base + at;
    return guest_look_again(guest, at, bytes);
}

/* A trap for what wbpf_guest_refuse() said. */
wasm_trap_t *guest_trap(wbpf_guest *guest);
/* The same of what a call of the guest's own function ended with: NULL if it did not. */
wasm_trap_t *guest_nested_trap(wasmtime_error_t *error, wasm_trap_t *trap);

int guest_find_function(wbpf_guest *guest, const char *name, wasmtime_func_t *out);
int guest_table_function(wbpf_guest *guest, uint32_t index, wasmtime_func_t *out);
/* Of this many parameters and results, all i32? */
bool guest_function_is(wbpf_guest *guest, const wasmtime_func_t *function, size_t parameters, size_t results);

/* ---- imports.c, wasm_bpf.c, wasi.c ---- */

int guest_link(wbpf_guest *guest, char *why);
int guest_define(wbpf_guest *guest, const char *module, const char *name, const char *parameters,
                 const char *results, wasmtime_unchecked function, void *env, char *why);
int guest_link_wasm_bpf(wbpf_guest *guest, char *why);
int guest_link_wasi(wbpf_guest *guest, char *why);
int wbpf_wasm_explain(wasmtime_error_t *error, char *why);

/* Each native function of the ABI, its arguments checked. */
#define DECLARE_NATIVE(name, parameters, bytes, wide)                                                        \
    int64_t native_##name(wbpf_guest *guest, const wbpf_guest_argument *arguments);
WBPF_NATIVE_FUNCTIONS(DECLARE_NATIVE)
#undef DECLARE_NATIVE

#endif

/* made by tools/generate_guest_abi.py from native/guest_abi.toml: do not edit */
/* clang-format off */
/* The imports of a module for wBPF, as they are; wbpf.h makes them pleasant. */
#ifndef WBPF_GUEST_ABI_H
#define WBPF_GUEST_ABI_H

#include <stdint.h>

#define WBPF_ABI_VERSION 1 /* what wbpf_abi() of a module returns */
#define WBPF_MAX_HANDLES 4096 /* that a module may hold at once; one more ends it */
#define WBPF_NAME_BYTES 64 /* longest name of a program, map, variable or parameter */
#define WBPF_RING_BATCH 0 /* ring_open: copied in batches by ring_read */
#define WBPF_RING_IN_PLACE 1 /* ring_open: mapped into the module's memory */
#define WBPF_WINDOW_WRITE 1 /* map_window: stores reach the map */
#define WBPF_BATCH_LOOKUP 0 /* map_batch: read entries */
#define WBPF_BATCH_LOOKUP_AND_DELETE 1 /* map_batch: read entries and remove them */
#define WBPF_BATCH_UPDATE 2 /* map_batch: write entries */
#define WBPF_BATCH_DELETE 3 /* map_batch: remove entries */
#define WBPF_MAX_SOCKETS 16 /* that a module may have open at once */
#define WBPF_SOCKET_BYTES 0x10000u /* that one call sends or receives at most */
#define WBPF_LOG_ERROR 0 /* log: shown always */
#define WBPF_LOG_WARNING 1 /* log: shown always */
#define WBPF_LOG_INFO 2 /* log: shown with -v */
#define WBPF_LOG_DEBUG 3 /* log: shown with -v */
#define WBPF_FRAME_DISCARDED 0x40000000u /* in wbpf_ring_window's data: this record was given up by its writer */
#define WBPF_FRAME_BUSY 0x80000000u /* in wbpf_ring_window's data: this record is still being written */

/* map_info: what map_info tells */
struct wbpf_map_info {
    uint32_t type; /* of the kernel's `enum bpf_map_type` */
    uint32_t key_bytes; /* of a key */
    uint32_t value_bytes; /* of a value as map_lookup wants it: for per-CPU maps the values of all possible CPUs, each rounded up to 8 */
    uint32_t max_entries;
    uint32_t flags; /* of the kernel's map flags */
    uint32_t cpus; /* values in one: the possible CPUs for a per-CPU map, else 1 */
};

/* frame: stands before each record that ring_read copies; the next frame is at the next multiple of 8 behind the record */
struct wbpf_frame {
    uint32_t bytes; /* of the record */
    uint32_t cpu; /* that wrote it, in a perf buffer; meaningless for others */
};

/* ring_window: a BPF ring buffer in the module's memory: addresses, and the mask of positions; records as the kernel keeps them, after a header of u32 bytes (with WBPF_FRAME_BUSY and WBPF_FRAME_DISCARDED), u32 unused */
struct wbpf_ring_window {
    uint32_t consumer; /* of a u64: the position read up to; the module stores it (release) to give space back */
    uint32_t producer; /* of a u64: the position written up to; load it (acquire) */
    uint32_t data; /* of the records, mapped twice one after the other, so that none is split */
    uint32_t mask; /* position & mask is the offset in data */
};

/* run: what program_run tells */
struct wbpf_run {
    uint32_t result; /* of the program */
    uint32_t duration_ns; /* of one run, on average */
    uint32_t data_bytes; /* written to the output */
    uint32_t reserved;
};

#ifdef __wasm__
#define WBPF_IMPORT(name) \
    __attribute__((import_module("wbpf"), import_name(#name)))

/* Tells the host what the module was built for. */
__attribute__((weak, export_name("wbpf_abi"))) int32_t wbpf_abi(void)
{
    return WBPF_ABI_VERSION;
}

/* Open an eBPF object that the module carries as `wbpf.object.NAME`; an empty name: the only one.
 * Parameters and filters of the command line are set in it. */
WBPF_IMPORT(object_open) int32_t wbpf_abi_object_open(const void *name, uint32_t name_bytes);

/* The same of an object in memory. */
WBPF_IMPORT(object_open_mem) int32_t wbpf_abi_object_open_mem(const void *elf, uint32_t elf_bytes);

/* Detach its programs and let go of it; all handles of its programs, maps, rings and links end. */
WBPF_IMPORT(object_close) int32_t wbpf_abi_object_close(int32_t object);

/* Give a global variable a value: of .rodata before loading, of .data and .bss at any time. */
WBPF_IMPORT(object_set) int32_t wbpf_abi_object_set(int32_t object, const void *variable, uint32_t variable_bytes, const void *value, uint32_t value_bytes);

/* Read a global variable. */
WBPF_IMPORT(object_get) int32_t wbpf_abi_object_get(int32_t object, const void *variable, uint32_t variable_bytes, void *value, uint32_t value_bytes);

/* Have the kernel verify the programs and make the maps. */
WBPF_IMPORT(object_load) int32_t wbpf_abi_object_load(int32_t object);

/* A program of an object; an empty name: the first. */
WBPF_IMPORT(program_find) int32_t wbpf_abi_program_find(int32_t object, const void *name, uint32_t name_bytes);

/* Whether object_load loads it. */
WBPF_IMPORT(program_autoload) int32_t wbpf_abi_program_autoload(int32_t program, uint32_t on);

/* Attach a program: to what its section names if `target` is empty. Several targets are separated by
 * commas. */
WBPF_IMPORT(program_attach) int32_t wbpf_abi_program_attach(int32_t program, const void *target, uint32_t target_bytes, uint64_t cookie);

/* Run a loaded program once with a context and packet of one's own (BPF_PROG_TEST_RUN). */
WBPF_IMPORT(program_run) int32_t wbpf_abi_program_run(int32_t program, void *context, uint32_t context_bytes, const void *input, uint32_t input_bytes, void *output, uint32_t output_bytes, struct wbpf_run *run);

/* Detach what program_attach attached; the handle ends. */
WBPF_IMPORT(link_detach) int32_t wbpf_abi_link_detach(int32_t link);

/* Read on in the text of an iterator's link; 0 at its end, after which it begins anew. */
WBPF_IMPORT(link_read) int32_t wbpf_abi_link_read(int32_t link, void *buffer, uint32_t buffer_bytes);

/* A map of an object. */
WBPF_IMPORT(map_find) int32_t wbpf_abi_map_find(int32_t object, const void *name, uint32_t name_bytes);

/* What a map is like. */
WBPF_IMPORT(map_info) int32_t wbpf_abi_map_info(int32_t map, struct wbpf_map_info *info);

/* Read a value. Key and value must have the map's sizes. */
WBPF_IMPORT(map_lookup) int32_t wbpf_abi_map_lookup(int32_t map, const void *key, uint32_t key_bytes, void *value, uint32_t value_bytes, uint64_t flags);

/* Write a value; flags of the kernel's: 0 any, 1 only a new key, 2 only one that is there. Queues,
 * stacks and Bloom filters have an empty key. */
WBPF_IMPORT(map_update) int32_t wbpf_abi_map_update(int32_t map, const void *key, uint32_t key_bytes, const void *value, uint32_t value_bytes, uint64_t flags);

/* Remove an entry. */
WBPF_IMPORT(map_delete) int32_t wbpf_abi_map_delete(int32_t map, const void *key, uint32_t key_bytes);

/* The key after a key; an empty key: the first. */
WBPF_IMPORT(map_next_key) int32_t wbpf_abi_map_next_key(int32_t map, const void *key, uint32_t key_bytes, void *next, uint32_t next_bytes);

/* Read a value and remove it; of a queue or stack, with an empty key, the next. */
WBPF_IMPORT(map_lookup_and_delete) int32_t wbpf_abi_map_lookup_and_delete(int32_t map, const void *key, uint32_t key_bytes, void *value, uint32_t value_bytes, uint64_t flags);

/* Up to `count` entries in one call. Reading goes on behind `cursor`: 4 bytes more than a key and at
 * least 8, all zero in front of the first entry; its first u32 becomes 1, and 2 behind the last.
 * `values` is empty for removing. */
WBPF_IMPORT(map_batch) int32_t wbpf_abi_map_batch(int32_t map, uint32_t operation, void *cursor, uint32_t cursor_bytes, void *keys, uint32_t keys_bytes, void *values, uint32_t values_bytes, uint32_t count, uint64_t flags);

/* Map an array with BPF_F_MMAPABLE into the module's memory; returns the address. Without
 * WBPF_WINDOW_WRITE stores trap. */
WBPF_IMPORT(map_window) int64_t wbpf_abi_map_window(int32_t map, uint32_t flags);

/* Put a loaded program into a program array, or one for devices or CPUs into such a map. */
WBPF_IMPORT(map_set_program) int32_t wbpf_abi_map_set_program(int32_t map, const void *key, uint32_t key_bytes, int32_t program);

/* Put a map into a map of maps. */
WBPF_IMPORT(map_set_map) int32_t wbpf_abi_map_set_map(int32_t map, const void *key, uint32_t key_bytes, int32_t inner);

/* Keep a map under a path of a bpffs. */
WBPF_IMPORT(map_pin) int32_t wbpf_abi_map_pin(int32_t map, const void *path, uint32_t path_bytes);

/* Before loading: take the map that is pinned there. */
WBPF_IMPORT(map_reuse) int32_t wbpf_abi_map_reuse(int32_t map, const void *path, uint32_t path_bytes);

/* Before loading: give it another size; 0 leaves as it is. */
WBPF_IMPORT(map_resize) int32_t wbpf_abi_map_resize(int32_t map, uint32_t max_entries, uint32_t value_bytes);

/* Read a BPF ring buffer or a perf event array. */
WBPF_IMPORT(ring_open) int32_t wbpf_abi_ring_open(int32_t map, uint32_t flags);

/* Read no more; the handle ends. */
WBPF_IMPORT(ring_close) int32_t wbpf_abi_ring_close(int32_t ring);

/* Wait until a ring has records, or a watched socket something to receive; writes the handles (u32
 * each) of those that have, in turn. 0: the time is over. A negative timeout waits for ever. */
WBPF_IMPORT(wait) int32_t wbpf_abi_wait(int32_t timeout_ms, void *ready, uint32_t ready_bytes);

/* Copy as many whole records as fit, each behind a wbpf_frame; 0: there are none. */
WBPF_IMPORT(ring_read) int32_t wbpf_abi_ring_read(int32_t ring, void *frames, uint32_t frames_bytes);

/* Where a ring that was opened with WBPF_RING_IN_PLACE is in the module's memory. */
WBPF_IMPORT(ring_window) int32_t wbpf_abi_ring_window(int32_t ring, struct wbpf_ring_window *window);

/* Records that the kernel could not keep in a perf buffer, as far as is known. 0 for BPF ring buffers:
 * their programs see the failure themselves. */
WBPF_IMPORT(ring_lost) int64_t wbpf_abi_ring_lost(int32_t ring);

/* Write a record to a user ring buffer. */
WBPF_IMPORT(user_ring_submit) int32_t wbpf_abi_user_ring_submit(int32_t map, const void *record, uint32_t record_bytes);

/* Connect to `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH` (a stream, or datagrams if that is what
 * is there); HOST is a name, a number, or `[::1]`. The manifest's `network` has to name it. A time,
 * here and below: 0 does not wait, below 0 and above the module's deadline is the deadline. */
WBPF_IMPORT(socket_connect) int32_t wbpf_abi_socket_connect(const void *address, uint32_t address_bytes, int32_t timeout_ms);

/* Send a datagram, or bytes of a stream: fewer than there are if the time is over before, or if there
 * are more than WBPF_SOCKET_BYTES. */
WBPF_IMPORT(socket_send) int32_t wbpf_abi_socket_send(int32_t socket, const void *data, uint32_t data_bytes, int32_t timeout_ms);

/* Receive a datagram, or what has come of a stream; 0: the stream's end. */
WBPF_IMPORT(socket_receive) int32_t wbpf_abi_socket_receive(int32_t socket, void *data, uint32_t data_bytes, int32_t timeout_ms);

/* Whether `wait` also tells this socket's handle when something has come or the other end has closed. */
WBPF_IMPORT(socket_watch) int32_t wbpf_abi_socket_watch(int32_t socket, uint32_t on);

/* Close it; the handle ends. */
WBPF_IMPORT(socket_close) int32_t wbpf_abi_socket_close(int32_t socket);

/* The text of a parameter's value; numbers are decimal, booleans `true` and `false`, durations
 * nanoseconds. A value longer than the buffer is cut; its whole length is returned. */
WBPF_IMPORT(param_get) int32_t wbpf_abi_param_get(const void *name, uint32_t name_bytes, void *value, uint32_t value_bytes);

/* The number of an event type of the manifest, for emit. */
WBPF_IMPORT(event_find) int32_t wbpf_abi_event_find(const void *name, uint32_t name_bytes);

/* Hand over records of a type, one after another; the host filters and prints them. Returns how many
 * passed the filter. */
WBPF_IMPORT(emit) int32_t wbpf_abi_emit(uint32_t event_type, const void *records, uint32_t records_bytes);

/* Say something on the host's standard error. */
WBPF_IMPORT(log) int32_t wbpf_abi_log(uint32_t level, const void *text, uint32_t text_bytes);

/* What the last call of this module that failed had to say; 0: none failed. */
WBPF_IMPORT(last_error) int32_t wbpf_abi_last_error(void *text, uint32_t text_bytes);

/* Names for addresses (u64 each), as `NAME+OFFSET`, a line each, an empty one where it is not known.
 * pid -1: the kernel's; else a process's. Text longer than the buffer is cut; its whole length is
 * returned. */
WBPF_IMPORT(symbolise) int32_t wbpf_abi_symbolise(const void *addresses, uint32_t addresses_bytes, int32_t pid, void *text, uint32_t text_bytes);

/* The clock of bpf_ktime_get_ns(): CLOCK_MONOTONIC. */
WBPF_IMPORT(now_ns) int64_t wbpf_abi_now_ns(void);

#endif
#endif

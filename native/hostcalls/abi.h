/* made by tools/generate_guest_abi.py from native/guest_abi.toml: do not edit */
/* clang-format off */
#ifndef WBPF_HOSTCALLS_ABI_H
#define WBPF_HOSTCALLS_ABI_H

#include <stdint.h>

#define ABI_VERSION 1 /* what wbpf_abi() of a module returns */
#define ABI_MAX_HANDLES 4096 /* that a module may hold at once; one more ends it */
#define ABI_NAME_BYTES 64 /* longest name of a program, map, variable or parameter */
#define ABI_RING_BATCH 0 /* ring_open: copied in batches by ring_read */
#define ABI_RING_IN_PLACE 1 /* ring_open: mapped into the module's memory */
#define ABI_WINDOW_WRITE 1 /* map_window: stores reach the map */
#define ABI_BATCH_LOOKUP 0 /* map_batch: read entries */
#define ABI_BATCH_LOOKUP_AND_DELETE 1 /* map_batch: read entries and remove them */
#define ABI_BATCH_UPDATE 2 /* map_batch: write entries */
#define ABI_BATCH_DELETE 3 /* map_batch: remove entries */
#define ABI_MAX_SOCKETS 16 /* that a module may have open at once */
#define ABI_SOCKET_BYTES 0x10000u /* that one call sends or receives at most */
#define ABI_LOG_ERROR 0 /* log: shown always */
#define ABI_LOG_WARNING 1 /* log: shown always */
#define ABI_LOG_INFO 2 /* log: shown with -v */
#define ABI_LOG_DEBUG 3 /* log: shown with -v */
#define ABI_FRAME_DISCARDED 0x40000000u /* in wbpf_ring_window's data: this record was given up by its writer */
#define ABI_FRAME_BUSY 0x80000000u /* in wbpf_ring_window's data: this record is still being written */

/* map_info: what map_info tells */
struct abi_map_info {
    uint32_t type; /* of the kernel's `enum bpf_map_type` */
    uint32_t key_bytes; /* of a key */
    uint32_t value_bytes; /* of a value as map_lookup wants it: for per-CPU maps the values of all possible CPUs, each rounded up to 8 */
    uint32_t max_entries;
    uint32_t flags; /* of the kernel's map flags */
    uint32_t cpus; /* values in one: the possible CPUs for a per-CPU map, else 1 */
};

/* frame: stands before each record that ring_read copies; the next frame is at the next multiple of 8 behind the record */
struct abi_frame {
    uint32_t bytes; /* of the record */
    uint32_t cpu; /* that wrote it, in a perf buffer; meaningless for others */
};

/* ring_window: a BPF ring buffer in the module's memory: addresses, and the mask of positions; records as the kernel keeps them, after a header of u32 bytes (with WBPF_FRAME_BUSY and WBPF_FRAME_DISCARDED), u32 unused */
struct abi_ring_window {
    uint32_t consumer; /* of a u64: the position read up to; the module stores it (release) to give space back */
    uint32_t producer; /* of a u64: the position written up to; load it (acquire) */
    uint32_t data; /* of the records, mapped twice one after the other, so that none is split */
    uint32_t mask; /* position & mask is the offset in data */
};

/* run: what program_run tells */
struct abi_run {
    uint32_t result; /* of the program */
    uint32_t duration_ns; /* of one run, on average */
    uint32_t data_bytes; /* written to the output */
    uint32_t reserved;
};

/* each(name, parameters, bytes of the struct among them, result is 64 bits wide)
 * Parameters: o p l m r k handles, i u I U numbers, t text, b bytes, w buffer, x inout, s struct.
 */
#define WBPF_NATIVE_FUNCTIONS(each) \
    each(map_info, "ms", 24, 0) \
    each(map_lookup, "mbwU", 0, 0) \
    each(map_update, "mbbU", 0, 0) \
    each(map_delete, "mb", 0, 0) \
    each(map_next_key, "mbw", 0, 0) \
    each(map_lookup_and_delete, "mbwU", 0, 0) \
    each(map_batch, "muxxxuU", 0, 0) \
    each(ring_close, "r", 0, 0) \
    each(wait, "iw", 0, 0) \
    each(ring_read, "rw", 0, 0) \
    each(ring_window, "rs", 16, 0) \
    each(ring_lost, "r", 0, 1) \
    each(socket_connect, "ti", 0, 0) \
    each(socket_send, "kbi", 0, 0) \
    each(socket_receive, "kwi", 0, 0) \
    each(socket_watch, "ku", 0, 0) \
    each(socket_close, "k", 0, 0) \
    each(last_error, "w", 0, 0) \
    each(now_ns, "", 0, 1)

#define WBPF_SCRIPTED_FUNCTIONS(each) \
    each(object_open, "t", 0, 0) \
    each(object_open_mem, "b", 0, 0) \
    each(object_close, "o", 0, 0) \
    each(object_set, "otb", 0, 0) \
    each(object_get, "otw", 0, 0) \
    each(object_load, "o", 0, 0) \
    each(program_find, "ot", 0, 0) \
    each(program_autoload, "pu", 0, 0) \
    each(program_attach, "ptU", 0, 0) \
    each(program_run, "pxbws", 16, 0) \
    each(link_detach, "l", 0, 0) \
    each(link_read, "lw", 0, 0) \
    each(map_find, "ot", 0, 0) \
    each(map_window, "mu", 0, 1) \
    each(map_set_program, "mbp", 0, 0) \
    each(map_set_map, "mbm", 0, 0) \
    each(map_pin, "mt", 0, 0) \
    each(map_reuse, "mt", 0, 0) \
    each(map_resize, "muu", 0, 0) \
    each(ring_open, "mu", 0, 0) \
    each(user_ring_submit, "mb", 0, 0) \
    each(param_get, "tw", 0, 0) \
    each(event_find, "t", 0, 0) \
    each(emit, "ub", 0, 0) \
    each(log, "ut", 0, 0) \
    each(symbolise, "biw", 0, 0)

#endif

/*
 * The guest SDK for C: control programs of eBPF applications, compiled to WebAssembly.
 *
 * Skeletons (NAME.skel.h, made by `wbpf build`) give names and types to what is here. Functions return 0 or more,
 * or a negative number below; wbpf_last_error() then has the host's words. Header only: include it in one file.
 */
#ifndef WBPF_H
#define WBPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wbpf/guest_abi.h>

#define WBPF_SDK static inline __attribute__((unused))

/* Why something failed, by Linux's numbers: those of WASI's errno.h are others. */
enum {
    WBPF_EPERM = 1,
    WBPF_ENOENT = 2,
    WBPF_ESRCH = 3,
    WBPF_EINTR = 4,
    WBPF_E2BIG = 7,
    WBPF_EAGAIN = 11,
    WBPF_ENOMEM = 12,
    WBPF_EBUSY = 16,
    WBPF_EEXIST = 17,
    WBPF_EINVAL = 22,
    WBPF_EMFILE = 24,
    WBPF_ENOSPC = 28,
    WBPF_EPIPE = 32,
    WBPF_EMSGSIZE = 90,
    WBPF_ENOTSUP = 95,
    WBPF_ETIMEDOUT = 110,
    WBPF_ECONNREFUSED = 111,
};

/* Handles: above 0. */
typedef int32_t wbpf_object;
typedef int32_t wbpf_program;
typedef int32_t wbpf_link;
typedef int32_t wbpf_map;
typedef int32_t wbpf_ring;
typedef int32_t wbpf_socket;

/* What the last call that failed had to say; "" if none did. */
WBPF_SDK const char *wbpf_last_error(void)
{
    static char text[1024];
    int32_t bytes = wbpf_abi_last_error(text, sizeof text - 1);
    text[bytes < 0 ? 0 : bytes < (int32_t)sizeof text ? bytes : (int32_t)sizeof text - 1] = '\0';
    return text;
}

/* Says on standard error what failed and why; returns the exit status for main. */
WBPF_SDK int wbpf_failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, wbpf_last_error());
    return 1;
}

/* ---- objects and programs ---- */

WBPF_SDK wbpf_object wbpf_object_open(const char *name)
{
    return wbpf_abi_object_open(name, strlen(name));
}

WBPF_SDK int wbpf_object_set(wbpf_object object, const char *variable, const void *value, size_t bytes)
{
    return wbpf_abi_object_set(object, variable, strlen(variable), value, bytes);
}

WBPF_SDK int wbpf_object_get(wbpf_object object, const char *variable, void *value, size_t bytes)
{
    int32_t got = wbpf_abi_object_get(object, variable, strlen(variable), value, bytes);
    return got < 0 ? got : 0;
}

WBPF_SDK int wbpf_object_load(wbpf_object object)
{
    return wbpf_abi_object_load(object);
}

WBPF_SDK int wbpf_object_close(wbpf_object object)
{
    return wbpf_abi_object_close(object);
}

WBPF_SDK wbpf_program wbpf_program_find(wbpf_object object, const char *name)
{
    return wbpf_abi_program_find(object, name, strlen(name));
}

WBPF_SDK int wbpf_program_autoload(wbpf_program program, bool on)
{
    return wbpf_abi_program_autoload(program, on);
}

/* `target`: NULL for what the program's section names. */
WBPF_SDK wbpf_link wbpf_program_attach(wbpf_program program, const char *target)
{
    return wbpf_abi_program_attach(program, target, target ? strlen(target) : 0, 0);
}

WBPF_SDK wbpf_link wbpf_program_attach_cookie(wbpf_program program, const char *target, uint64_t cookie)
{
    return wbpf_abi_program_attach(program, target, target ? strlen(target) : 0, cookie);
}

/* Runs a loaded program once, here and now, with a context of one's own: for raw tracepoints its arguments. */
WBPF_SDK int wbpf_program_run(wbpf_program program, void *context, size_t bytes, struct wbpf_run *run)
{
    return wbpf_abi_program_run(program, context, bytes, NULL, 0, NULL, 0, run);
}

WBPF_SDK int wbpf_link_detach(wbpf_link link)
{
    return wbpf_abi_link_detach(link);
}

/* ---- parameters ---- */

/* The text of a parameter's value; NULL if there is none of this name. Until the next call. */
WBPF_SDK const char *wbpf_param(const char *name)
{
    static char text[4096];
    int32_t bytes = wbpf_abi_param_get(name, strlen(name), text, sizeof text - 1);
    if (bytes < 0)
        return NULL;
    text[bytes < (int32_t)sizeof text ? bytes : (int32_t)sizeof text - 1] = '\0';
    return text;
}

WBPF_SDK bool wbpf_param_bool(const char *name)
{
    const char *text = wbpf_param(name);
    return text && !strcmp(text, "true");
}

/* Of an int, or a duration: in ns. */
WBPF_SDK int64_t wbpf_param_int(const char *name)
{
    const char *text = wbpf_param(name);
    return text ? strtoll(text, NULL, 10) : 0;
}

WBPF_SDK uint64_t wbpf_param_uint(const char *name)
{
    const char *text = wbpf_param(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

WBPF_SDK double wbpf_param_float(const char *name)
{
    const char *text = wbpf_param(name);
    return text ? strtod(text, NULL) : 0;
}

/* ---- maps ---- */

WBPF_SDK wbpf_map wbpf_map_find(wbpf_object object, const char *name)
{
    return wbpf_abi_map_find(object, name, strlen(name));
}

WBPF_SDK int wbpf_map_lookup(wbpf_map map, const void *key, size_t key_bytes, void *value, size_t value_bytes)
{
    return wbpf_abi_map_lookup(map, key, key_bytes, value, value_bytes, 0);
}

WBPF_SDK int wbpf_map_update(wbpf_map map, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    return wbpf_abi_map_update(map, key, key_bytes, value, value_bytes, 0);
}

WBPF_SDK int wbpf_map_delete(wbpf_map map, const void *key, size_t key_bytes)
{
    return wbpf_abi_map_delete(map, key, key_bytes);
}

/* The key behind `key`; NULL: the first one. -WBPF_ENOENT behind the last. */
WBPF_SDK int wbpf_map_next_key(wbpf_map map, const void *key, void *next, size_t key_bytes)
{
    return wbpf_abi_map_next_key(map, key, key ? key_bytes : 0, next, key_bytes);
}

/* The values of a per-CPU map: the number of possible CPUs. 1 for other maps. */
WBPF_SDK int wbpf_map_cpus(wbpf_map map)
{
    struct wbpf_map_info info;
    int error = wbpf_abi_map_info(map, &info);
    return error < 0 ? error : (int)info.cpus;
}

/* ---- records of ring and perf buffers ---- */

/* Reads a ring in batches: one copy and one call for many records. */
struct wbpf_reader {
    wbpf_ring ring;
    uint32_t filled; /* of the batch */
    uint32_t at;
    uint32_t cpu; /* that wrote the last record, in a perf buffer */
    _Alignas(8) uint8_t batch[64 * 1024];
};

WBPF_SDK int wbpf_reader_open(struct wbpf_reader *reader, wbpf_map map)
{
    reader->filled = reader->at = reader->cpu = 0;
    reader->ring = wbpf_abi_ring_open(map, WBPF_RING_BATCH);
    return reader->ring < 0 ? reader->ring : 0;
}

/* The next record, aligned to 8; NULL: there are no more for now. It stays until the next call. */
WBPF_SDK const void *wbpf_reader_next(struct wbpf_reader *reader, uint32_t *bytes)
{
    if (reader->at >= reader->filled) {
        int32_t filled = wbpf_abi_ring_read(reader->ring, reader->batch, sizeof reader->batch);
        reader->at = 0;
        reader->filled = filled < 0 ? 0 : filled;
        if (filled <= 0)
            return NULL;
    }
    const struct wbpf_frame *frame = (const struct wbpf_frame *)(reader->batch + reader->at);
    reader->at += sizeof *frame + ((frame->bytes + 7u) & ~7u);
    reader->cpu = frame->cpu;
    if (bytes)
        *bytes = frame->bytes;
    return frame + 1;
}

/* Waits until some ring has records, or a watched socket something to receive. Returns how many have, 0 when the
 * time is over, or a negative number when the program is to end. `timeout_ms` below 0 waits for ever. */
WBPF_SDK int wbpf_wait(int timeout_ms)
{
    wbpf_ring ready[16];
    return wbpf_abi_wait(timeout_ms, ready, sizeof ready);
}

/* ---- a ring in the module's own memory: no copy at all ---- */

struct wbpf_window {
    wbpf_ring ring;
    struct wbpf_ring_window place;
    uint64_t consumed;
};

WBPF_SDK int wbpf_window_open(struct wbpf_window *window, wbpf_map map)
{
    window->ring = wbpf_abi_ring_open(map, WBPF_RING_IN_PLACE);
    if (window->ring < 0)
        return window->ring;
    int error = wbpf_abi_ring_window(window->ring, &window->place);
    if (!error)
        window->consumed = __atomic_load_n((uint64_t *)(uintptr_t)window->place.consumer, __ATOMIC_ACQUIRE);
    return error;
}

/* The next record where the kernel wrote it; NULL: there are no more for now. It stays until the space is given
 * back by wbpf_window_release, once for many records. */
WBPF_SDK const void *wbpf_window_next(struct wbpf_window *window, uint32_t *bytes)
{
    uint64_t produced = __atomic_load_n((uint64_t *)(uintptr_t)window->place.producer, __ATOMIC_ACQUIRE);
    while (window->consumed < produced) {
        uint8_t *header = (uint8_t *)(uintptr_t)window->place.data + (window->consumed & window->place.mask);
        uint32_t length = __atomic_load_n((uint32_t *)header, __ATOMIC_ACQUIRE);
        if (length & WBPF_FRAME_BUSY)
            return NULL;
        uint32_t size = length & ~(WBPF_FRAME_BUSY | WBPF_FRAME_DISCARDED);
        window->consumed += 8 + ((size + 7u) & ~7u);
        if (length & WBPF_FRAME_DISCARDED)
            continue;
        if (bytes)
            *bytes = size;
        return header + 8;
    }
    return NULL;
}

WBPF_SDK void wbpf_window_release(struct wbpf_window *window)
{
    __atomic_store_n((uint64_t *)(uintptr_t)window->place.consumer, window->consumed, __ATOMIC_RELEASE);
}

/* ---- sockets: what `network` of wbpf.toml names ----
 * A time of 0 does not wait, one below 0 is the module's deadline. */

/* `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH`. */
WBPF_SDK wbpf_socket wbpf_socket_connect(const char *address, int timeout_ms)
{
    return wbpf_abi_socket_connect(address, strlen(address), timeout_ms);
}

/* How many bytes were sent; of a stream it may be fewer than there are. */
WBPF_SDK int wbpf_socket_send(wbpf_socket socket, const void *data, size_t bytes, int timeout_ms)
{
    return wbpf_abi_socket_send(socket, data, bytes, timeout_ms);
}

/* How many bytes have come; 0 at the end of a stream, -WBPF_EAGAIN when the time is over. */
WBPF_SDK int wbpf_socket_receive(wbpf_socket socket, void *data, size_t bytes, int timeout_ms)
{
    return wbpf_abi_socket_receive(socket, data, bytes, timeout_ms);
}

/* Whether wbpf_wait also ends when something has come. */
WBPF_SDK int wbpf_socket_watch(wbpf_socket socket, bool on)
{
    return wbpf_abi_socket_watch(socket, on);
}

WBPF_SDK int wbpf_socket_close(wbpf_socket socket)
{
    return wbpf_abi_socket_close(socket);
}

/* ---- output ---- */

/* An event type of wbpf.toml. */
WBPF_SDK int wbpf_event_find(const char *name)
{
    return wbpf_abi_event_find(name, strlen(name));
}

/* Hands one or more records of a type to the host, which filters and prints them. */
WBPF_SDK int wbpf_emit(int event_type, const void *records, size_t bytes)
{
    return wbpf_abi_emit(event_type, records, bytes);
}

/* Hands all records of `bytes` each that a ring has to the host, a batch in one call; returns how many. */
WBPF_SDK int wbpf_reader_emit(struct wbpf_reader *reader, int event_type, uint32_t bytes)
{
    int total = 0;
    for (;;) {
        uint32_t at = 0, kept = 0, size;
        const void *record;
        while ((record = wbpf_reader_next(reader, &size)) != NULL) {
            if (size >= bytes) {
                memmove(reader->batch + at, record, bytes); /* over frames that were read already */
                at += bytes;
                kept++;
            }
            if (reader->at >= reader->filled)
                break;
        }
        if (!kept)
            return total;
        int error = wbpf_abi_emit(event_type, reader->batch, at);
        if (error < 0)
            return error;
        total += kept;
    }
}

WBPF_SDK void wbpf_log(int level, const char *text)
{
    wbpf_abi_log(level, text, strlen(text));
}

WBPF_SDK uint64_t wbpf_now_ns(void)
{
    return wbpf_abi_now_ns();
}

#endif

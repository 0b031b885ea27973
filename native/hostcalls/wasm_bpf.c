/*
 * The imports of modules built for wasm-bpf. Texts end with a NUL, handles of objects are 64 bits wide, and
 * what it calls a map's descriptor is a handle here.
 */
#include "guest.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 4096 };
enum { LOOKUP = 1, UPDATE, DELETE, NEXT_KEY };

static struct handle *object_of(wbpf_guest *guest, int64_t handle)
{
    return handle > 0 && handle <= INT32_MAX ? guest_find(guest, (int32_t)handle, 'o') : NULL;
}

/* A text up to its NUL; false: it has none in the module's memory. A null pointer is an empty one. */
static bool read_text(wbpf_guest *guest, uint32_t at, wbpf_guest_argument *out)
{
    *out = (wbpf_guest_argument){.kind = 't', .data = (uint8_t *)""};
    if (at == 0)
        return true;
    uint8_t *start = guest_look_again(guest, at, 0);
    uint64_t room = start ? guest->memory_bytes - at : 0;
    const uint8_t *end = start ? memchr(start, 0, room < MAX_TEXT ? room : MAX_TEXT) : NULL;
    if (!end)
        return false;
    out->data = start;
    out->bytes = (uint32_t)(end - start);
    return true;
}

/* A call that Python answers. */
static int64_t ask(wbpf_guest *guest, const char *function, wbpf_guest_argument *arguments, uint32_t count)
{
    guest->has_spoken = false;
    int64_t result = guest->call(guest->user, function, arguments, count);
    if (result < 0) {
        guest->failed = function;
        guest->failed_with = result;
        guest->failed_speaking = guest->has_spoken;
        guest->has_told = false;
    }
    return result;
}

static wasm_trap_t *answer(wbpf_guest *guest, wasmtime_val_raw_t *values, int64_t result, bool is_wide)
{
    if (result == WBPF_GUEST_END || guest->is_refused)
        return guest_trap(guest);
    if (is_wide)
        values[0].i64 = result;
    else
        values[0].i32 = (int32_t)result;
    return NULL;
}

static wasm_trap_t *load_bpf_object(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                    size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    uint32_t at = (uint32_t)values[0].i32, bytes = (uint32_t)values[1].i32;
    wbpf_guest_argument elf = {.kind = 'b', .data = guest_range(guest, at, bytes), .bytes = bytes};
    int64_t handle = elf.data ? ask(guest, "wasm_load_bpf_object", &elf, 1) : 0;
    return answer(guest, values, handle < 0 && handle != WBPF_GUEST_END ? 0 : handle, true);
}

static wasm_trap_t *close_bpf_object(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                     size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    if (!object_of(guest, values[0].i64))
        return answer(guest, values, -EBADF, false);
    if (guest_closes_polled(guest, (int32_t)values[0].i64))
        return guest_trap(guest);
    wbpf_guest_argument object = {.kind = 'o', .number = values[0].i64};
    return answer(guest, values, ask(guest, "object_close", &object, 1), false);
}

/* wasm-bpf's skeletons take no notice of what was not attached, so the user would wait for nothing. */
static void tell(wbpf_guest *guest, const char *program, uint32_t bytes)
{
    char text[WBPF_WASM_WHY_BYTES + 64];
    if (guest->explain && guest->failed_speaking)
        guest->explain(guest->user);
    int size = guest->failed_speaking
                   ? snprintf(text, sizeof text, "warning: %s\n", guest->last_error)
                   : snprintf(text, sizeof text, "warning: program '%.*s' is not attached: %s\n", (int)bytes,
                              program, strerror((int)-guest->failed_with));
    size = size < (int)sizeof text ? size : (int)sizeof text - 1;
    if (guest->write)
        guest->write(guest->user, 2, text, (size_t)size);
    else
        dprintf(guest->stderr_fd, "%s", text);
    guest->has_told = true;
}

/* The same of an object that was not loaded: some modules go on with its handle, 0. */
static bool has_object(wbpf_guest *guest, int64_t handle)
{
    if (object_of(guest, handle))
        return true;
    if (!handle && guest->failed && strcmp(guest->failed, "wasm_load_bpf_object") == 0 && !guest->has_told)
        tell(guest, "", 0);
    return false;
}

static wasm_trap_t *attach_bpf_program(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                       size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    wbpf_guest_argument arguments[3] = {{.kind = 'o', .number = values[0].i64}};
    if (!has_object(guest, values[0].i64))
        return answer(guest, values, -EBADF, false);
    if (!read_text(guest, (uint32_t)values[1].i32, &arguments[1]) ||
        !read_text(guest, (uint32_t)values[2].i32, &arguments[2]))
        return answer(guest, values, -EFAULT, false);
    if (!arguments[1].bytes)
        return answer(guest, values, -EINVAL, false);
    int64_t link = ask(guest, "wasm_attach_bpf_program", arguments, 3);
    if (link < 0 && link != WBPF_GUEST_END && !guest->is_refused)
        tell(guest, (const char *)arguments[1].data, arguments[1].bytes);
    return answer(guest, values, link > 0 ? 0 : link, false);
}

/* To a folder that the module was given, by its descriptor: below 0 for none, and modules of wasm-bpf are
 * given none. Skeletons of its later SDK import this for programs that have a target in words too. */
static wasm_trap_t *attach_bpf_program_fd(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                          size_t size)
{
    wbpf_guest *guest = env;
    wbpf_guest_argument name;
    if (values[2].i32 < 0) {
        values[2].i32 = 0;
        return attach_bpf_program(env, caller, values, size);
    }
    if (!has_object(guest, values[0].i64))
        return answer(guest, values, -EBADF, false);
    if (!read_text(guest, (uint32_t)values[1].i32, &name))
        return answer(guest, values, -EFAULT, false);
    guest->failed = "wasm_attach_bpf_program_fd";
    guest->failed_with = -EBADF;
    guest->failed_speaking = false;
    tell(guest, (const char *)name.data, name.bytes);
    return answer(guest, values, -EBADF, false);
}

static wasm_trap_t *map_fd_by_name(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                   size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    wbpf_guest_argument arguments[2] = {{.kind = 'o', .number = values[0].i64}};
    if (!has_object(guest, values[0].i64))
        return answer(guest, values, -EBADF, false);
    if (!read_text(guest, (uint32_t)values[1].i32, &arguments[1]))
        return answer(guest, values, -EFAULT, false);
    return answer(guest, values, ask(guest, "map_find", arguments, 2), false);
}

/* ---- entries ---- */

static int operate(wbpf_guest *guest, struct guest_map *map, int command, uint32_t key, uint32_t value,
                   uint32_t next_key, uint64_t flags)
{
    uint32_t key_bytes = map->info.key_bytes, value_bytes = map->info.value_bytes;
    const uint8_t *key_at = guest_range(guest, key, key_bytes);
    uint8_t *out;
    if (map->keyed_by_descriptors || map->fd < 0)
        return map->fd < 0 ? -EBADF : -EPERM;
    if (!key_bytes || (command == NEXT_KEY && !key))
        key_at = NULL;
    else if (!key_at || !key)
        return -EFAULT;
    switch (command) {
    case LOOKUP:
        out = guest_range(guest, value, value_bytes);
        return out && value ? map->backend->lookup(map, key_at, out, flags) : -EFAULT;
    case UPDATE:
        out = guest_range(guest, value, value_bytes);
        if (map->holds_descriptors)
            return -EPERM;
        return out && value ? map->backend->update(map, key_at, out, flags) : -EFAULT;
    case DELETE:
        return map->backend->delete(map, key_at);
    case NEXT_KEY:
        out = guest_range(guest, next_key, key_bytes);
        return out && next_key ? map->backend->next_key(map, key_at, out) : -EFAULT;
    default:
        return -EINVAL;
    }
}

static wasm_trap_t *map_operate(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    struct handle *entry = guest_find(guest, values[0].i32, 'm');
    int result = !entry ? -EBADF
                        : operate(guest, entry->map, values[1].i32, (uint32_t)values[2].i32,
                                  (uint32_t)values[3].i32, (uint32_t)values[4].i32, (uint64_t)values[5].i64);
    return answer(guest, values, result, false);
}

/* ---- polling ---- */

struct delivery {
    wbpf_guest *guest;
    wasmtime_func_t function;
    bool has_result; /* the function returns something */
    int32_t context;
    uint32_t data, max_bytes;
    bool is_ring_buffer;
    int32_t refused; /* what the function returned to end it */
    wasm_trap_t *trap;
};

static int deliver(void *context, const void *data, uint32_t bytes, uint32_t cpu)
{
    struct delivery *to = context;
    (void)cpu;
    bytes = bytes < to->max_bytes ? bytes : to->max_bytes;
    uint8_t *place = guest_range(to->guest, to->data, bytes);
    if (!place)
        return 1;
    memcpy(place, data, bytes);
    wasmtime_val_raw_t values[3] = {
        {.i32 = to->context}, {.i32 = (int32_t)to->data}, {.i32 = (int32_t)bytes}};
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error =
        wasmtime.wasmtime_func_call_unchecked(to->guest->context, &to->function, values, 3, &trap);
    to->trap = guest_nested_trap(error, trap);
    if (to->trap)
        return 1;
    if (to->has_result && values[0].i32 < 0 && to->is_ring_buffer) /* as libbpf's callbacks end a poll */
        to->refused = values[0].i32;
    return to->refused != 0;
}

/* Some functions return nothing: those in Rust, whose compiler does not see what they are for. */
static bool takes_samples(struct delivery *to, wbpf_guest *guest)
{
    to->has_result = guest_function_is(guest, &to->function, 3, 1);
    return to->has_result || guest_function_is(guest, &to->function, 3, 0);
}

static wasm_trap_t *poll(wbpf_guest *guest, wasmtime_val_raw_t *values, struct delivery *to, int timeout_ms)
{
    int32_t map = values[1].i32;
    struct handle *entry = guest_find(guest, map, 'm');
    if (guest->polled) {
        wbpf_guest_refuse(guest, true,
                          "it polled a buffer again from within the function that gets its samples");
        return guest_trap(guest);
    }
    if (!has_object(guest, values[0].i64) || !entry || entry->owner != values[0].i64)
        return answer(guest, values, -EBADF, false);
    if (!guest_range(guest, to->data, to->max_bytes))
        return answer(guest, values, -EFAULT, false);
    to->guest = guest;
    to->is_ring_buffer = entry->map->info.type != 4; /* BPF_MAP_TYPE_PERF_EVENT_ARRAY */
    int64_t count = guest_poll(guest, map, timeout_ms, deliver, to);
    if (to->trap)
        return to->trap;
    return answer(guest, values, to->refused ? to->refused : count, false);
}

static wasm_trap_t *buffer_poll(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    struct delivery to = {
        .context = values[3].i32, .data = (uint32_t)values[4].i32, .max_bytes = (uint32_t)values[5].i32};
    int error = guest_table_function(guest, (uint32_t)values[2].i32, &to.function);
    if (error || !takes_samples(&to, guest)) {
        wbpf_guest_refuse(guest, false, "the sample function is none of (i32, i32, i32) -> i32 in the table");
        return answer(guest, values, -EINVAL, false);
    }
    return poll(guest, values, &to, values[6].i32);
}

/* TinyGo's functions are in no table that it exports: there is one for all samples. */
static wasm_trap_t *wrapped_buffer_poll(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                        size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    struct delivery to = {
        .context = values[2].i32, .data = (uint32_t)values[3].i32, .max_bytes = (uint32_t)values[4].i32};
    if (guest_find_function(guest, "go-callback", &to.function) != 0 || !takes_samples(&to, guest)) {
        wbpf_guest_refuse(guest, false, "it exports no function go-callback of (i32, i32, i32) -> i32");
        return answer(guest, values, -EINVAL, false);
    }
    return poll(guest, values, &to, values[5].i32);
}

int guest_link_wasm_bpf(wbpf_guest *guest, char *why)
{
    /* `env` is where linkers expect what no header said the module of, as in wasm-bpf's first headers. */
    static const char *const modules[] = {"wasm_bpf", "env"};
    static const struct {
        const char *name, *parameters, *results;
        wasmtime_unchecked function;
    } all[] = {
        {"wasm_load_bpf_object", "ii", "I", load_bpf_object},
        {"wasm_close_bpf_object", "I", "i", close_bpf_object},
        {"wasm_attach_bpf_program", "Iii", "i", attach_bpf_program},
        {"wasm_attach_bpf_program_fd", "Iii", "i", attach_bpf_program_fd},
        {"wasm_bpf_map_fd_by_name", "Ii", "i", map_fd_by_name},
        {"wasm_bpf_map_operate", "iiiiiI", "i", map_operate},
        {"wasm_bpf_buffer_poll", "Iiiiiii", "i", buffer_poll},
    };
    int error = guest_define(guest, "callback-wrapper", "wasm_bpf_buffer_poll", "Iiiiii", "i",
                             wrapped_buffer_poll, guest, why);
    for (size_t m = 0; m < 2; m++)
        for (size_t i = 0; !error && i < sizeof all / sizeof all[0]; i++)
            error = guest_define(guest, modules[m], all[i].name, all[i].parameters, all[i].results,
                                 all[i].function, guest, why);
    return error;
}

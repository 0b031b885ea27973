/* What a module imports: each function of abi.h with its arguments checked in one place. */
#include "guest.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int64_t (*native_function)(wbpf_guest *guest, const wbpf_guest_argument *arguments);

struct guest_function {
    const char *name, *parameters;
    uint32_t struct_bytes;
    bool is_wide;
    wasmtime_unchecked call;
};

struct binding {
    wbpf_guest *guest;
    const struct guest_function *function;
};

static const char *kind_name(char kind)
{
    switch (kind) {
    case 'o':
        return "object";
    case 'p':
        return "program";
    case 'l':
        return "link";
    case 'm':
        return "map";
    case 'k':
        return "socket";
    default:
        return "ring";
    }
}

/* ---- arguments ---- */

/* Into each function's own call below, where the parameters are constants: a loop over them costs more than
 * the rest, as the kernel forgets predicted branches with every system call. */
#define INLINED static inline __attribute__((always_inline))

static int read_handle(wbpf_guest *guest, char kind, int32_t handle)
{
    if (guest_find(guest, handle, kind))
        return 0;
    wbpf_guest_refuse(guest, false, "%d is the handle of no %s", handle, kind_name(kind));
    return -EBADF;
}

static int read_range(wbpf_guest *guest, uint32_t at, uint32_t bytes, wbpf_guest_argument *out)
{
    out->data = guest_range(guest, at, bytes);
    out->bytes = bytes;
    if (out->data)
        return 0;
    wbpf_guest_refuse(guest, false, "%u bytes at %u are not in the module's memory", bytes, at);
    return -EFAULT;
}

/* One argument of `values`, which moves on. */
INLINED int read_argument(wbpf_guest *guest, char kind, uint32_t struct_bytes,
                          const wasmtime_val_raw_t **values, wbpf_guest_argument *out)
{
    const wasmtime_val_raw_t *at = (*values)++;
    out->kind = kind;
    switch (kind) {
    case 'o':
    case 'p':
    case 'l':
    case 'm':
    case 'r':
    case 'k':
        out->number = at->i32;
        return read_handle(guest, kind, at->i32);
    case 'i':
        out->number = at->i32;
        return 0;
    case 'u':
        out->number = (uint32_t)at->i32;
        return 0;
    case 'I':
    case 'U':
        out->number = at->i64;
        return 0;
    case 's':
        return read_range(guest, (uint32_t)at->i32, struct_bytes, out);
    default:
        (*values)++;
        return read_range(guest, (uint32_t)at[0].i32, (uint32_t)at[1].i32, out);
    }
}

INLINED int read_arguments(wbpf_guest *guest, const char *parameters, uint32_t count, uint32_t struct_bytes,
                           const wasmtime_val_raw_t *values, wbpf_guest_argument *out)
{
    int error = 0;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) {
        error = read_argument(guest, parameters[i], struct_bytes, &values, &out[i]);
        if (error)
            break;
    }
    return error;
}

/* ---- calls ---- */

static wasm_trap_t *fail(wbpf_guest *guest, const char *name, int64_t result)
{
    guest->failed = name;
    guest->failed_with = result;
    guest->failed_speaking = guest->has_spoken;
    guest->has_told = false;
    return result == WBPF_GUEST_END || guest->is_refused ? guest_trap(guest) : NULL;
}

INLINED wasm_trap_t *answer(const struct binding *binding, const char *parameters, uint32_t struct_bytes,
                            bool is_wide, native_function native, wasmtime_val_raw_t *values)
{
    wbpf_guest *guest = binding->guest;
    const char *name = binding->function->name;
    wbpf_guest_argument arguments[WBPF_GUEST_MAX_ARGUMENTS];
    wasm_trap_t *trap = NULL;
    uint32_t count = (uint32_t)strlen(parameters);
    guest->has_spoken = false;
    int64_t result = read_arguments(guest, parameters, count, struct_bytes, values, arguments);
    if (result == 0 && native)
        result = native(guest, arguments);
    else if (result == 0 && guest->polled && strcmp(name, "object_close") == 0 &&
             guest_closes_polled(guest, (int32_t)arguments[0].number))
        result = -EBUSY;
    else if (result == 0)
        result = guest->call(guest->user, name, arguments, count);
    if (result < 0)
        trap = fail(guest, name, result);
    if (trap)
        return trap;
    if (is_wide)
        values[0].i64 = result;
    else
        values[0].i32 = (int32_t)result;
    return NULL;
}

#define NATIVE(name, parameters, bytes, wide)                                                                \
    static wasm_trap_t *call_##name(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,        \
                                    size_t size)                                                             \
    {                                                                                                        \
        (void)caller;                                                                                        \
        (void)size;                                                                                          \
        return answer(env, parameters, bytes, wide, native_##name, values);                                  \
    }
WBPF_NATIVE_FUNCTIONS(NATIVE)
#undef NATIVE

/* Those that Python answers. */
static wasm_trap_t *call_script(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t size)
{
    const struct guest_function *function = ((const struct binding *)env)->function;
    (void)caller;
    (void)size;
    return answer(env, function->parameters, function->struct_bytes, function->is_wide, NULL, values);
}

static const struct guest_function functions[] = {
#define NATIVE(name, parameters, bytes, wide)   {#name, parameters, bytes, wide, call_##name},
#define SCRIPTED(name, parameters, bytes, wide) {#name, parameters, bytes, wide, call_script},
    WBPF_NATIVE_FUNCTIONS(NATIVE) WBPF_SCRIPTED_FUNCTIONS(SCRIPTED)
#undef NATIVE
#undef SCRIPTED
};
#define FUNCTIONS (sizeof functions / sizeof functions[0])

int64_t native_last_error(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    char text[WBPF_WASM_WHY_BYTES + 64];
    if (!guest->failed)
        return 0;
    guest->has_told = true;
    if (guest->explain && guest->failed_speaking)
        guest->explain(guest->user);
    int bytes = snprintf(text, sizeof text, "%s: %s", guest->failed,
                         guest->failed_speaking ? guest->last_error : strerror((int)-guest->failed_with));
    uint32_t room = arguments[0].bytes;
    memcpy(arguments[0].data, text, (uint32_t)bytes < room ? (uint32_t)bytes : room);
    return bytes;
}

int64_t native_now_ns(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    (void)guest;
    (void)arguments;
    return (int64_t)monotonic_ns();
}

/* ---- definitions ---- */

/* `i` and `I` in a text, as Wasmtime's list of types. */
static void types_of(const char *text, wasm_valtype_vec_t *out)
{
    size_t size = strlen(text);
    wasmtime.wasm_valtype_vec_new_uninitialized(out, size);
    for (size_t i = 0; i < size; i++)
        out->data[i] = wasmtime.wasm_valtype_new(text[i] == 'I' ? WASM_I64 : WASM_I32);
}

int guest_define(wbpf_guest *guest, const char *module, const char *name, const char *parameters,
                 const char *results, wasmtime_unchecked function, void *env, char *why)
{
    wasm_valtype_vec_t in, out;
    types_of(parameters, &in);
    types_of(results, &out);
    wasm_functype_t *type = wasmtime.wasm_functype_new(&in, &out);
    wasmtime_error_t *error = wasmtime.wasmtime_linker_define_func_unchecked(
        guest->linker, module, strlen(module), name, strlen(name), type, function, env, NULL);
    wasmtime.wasm_functype_delete(type);
    return error ? wbpf_wasm_explain(error, why) : 0;
}

static int define_function(wbpf_guest *guest, struct binding *binding, char *why)
{
    char parameters[3 * WBPF_GUEST_MAX_ARGUMENTS + 1], *at = parameters;
    for (const char *kind = binding->function->parameters; *kind; kind++) {
        bool is_range = strchr("tbwx", *kind) != NULL;
        *at++ = *kind == 'I' || *kind == 'U' ? 'I' : 'i';
        if (is_range)
            *at++ = 'i';
    }
    *at = 0;
    return guest_define(guest, "wbpf", binding->function->name, parameters,
                        binding->function->is_wide ? "I" : "i", binding->function->call, binding, why);
}

static bool is_imported(const wbpf_guest *guest, const char *module, const char *name)
{
    wbpf_wasm_import import;
    for (uint32_t i = 0; wbpf_wasm_module_import(guest->module, i, &import) == 0; i++)
        if (strcmp(import.module, module) == 0 && (!name || strcmp(import.name, name) == 0))
            return true;
    return false;
}

int guest_link(wbpf_guest *guest, char *why)
{
    wasmtime_error_t *failed = wasmtime.wasmtime_linker_define_wasi(guest->linker);
    int error = failed ? wbpf_wasm_explain(failed, why) : 0;
    wasmtime.wasmtime_linker_allow_shadowing(guest->linker, true);
    if (!error)
        error = guest_link_wasi(guest, why);
    guest->bindings = calloc(FUNCTIONS, sizeof *guest->bindings);
    for (size_t i = 0; !error && i < FUNCTIONS; i++) {
        guest->bindings[i] = (struct binding){guest, &functions[i]};
        if (is_imported(guest, "wbpf", functions[i].name))
            error = define_function(guest, &guest->bindings[i], why);
    }
    if (!error && (is_imported(guest, "wasm_bpf", NULL) || is_imported(guest, "env", NULL) ||
                   is_imported(guest, "callback-wrapper", NULL)))
        error = guest_link_wasm_bpf(guest, why);
    return error;
}

uint32_t wbpf_guest_function(uint32_t index, const char **name)
{
    if (index < FUNCTIONS)
        *name = functions[index].name;
    return FUNCTIONS;
}

/* One run of a module: its store, its memory, and how it ends. */
#include "guest.h"
#include "windows.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what it is told when it fails ---- */

void wbpf_guest_refuse(wbpf_guest *guest, bool ends, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(guest->last_error, sizeof guest->last_error, format, arguments);
    va_end(arguments);
    guest->has_spoken = true;
    if (ends && !guest->is_refused) {
        guest->is_refused = true;
        memcpy(guest->why, guest->last_error, sizeof guest->why);
    }
}

const char *wbpf_guest_failed(const wbpf_guest *guest, const char **why)
{
    *why = guest->failed_speaking ? guest->last_error : strerror((int)-guest->failed_with);
    return guest->failed;
}

bool wbpf_guest_has_told(const wbpf_guest *guest)
{
    return guest->has_told;
}

wasm_trap_t *guest_trap(wbpf_guest *guest)
{
    return wasmtime.wasmtime_trap_new(guest->why, strlen(guest->why));
}

wasm_trap_t *guest_nested_trap(wasmtime_error_t *error, wasm_trap_t *trap)
{
    if (!error)
        return trap;
    char why[WBPF_WASM_WHY_BYTES];
    wbpf_wasm_explain(error, why);
    return wasmtime.wasmtime_trap_new(why, strlen(why));
}

/* ---- deadlines and stopping ---- */

static wasmtime_error_t *on_epoch(wasmtime_context_t *context, void *data, uint64_t *more_ticks,
                                  uint8_t *kind)
{
    wbpf_guest *guest = data;
    (void)context;
    if (atomic_load(&guest->is_stopped) || atomic_load(&guest->is_overtime) ||
        atomic_load(&guest->has_violated))
        return wasmtime.wasmtime_error_new("ended by the host");
    *more_ticks = 1;
    *kind = 0; /* go on */
    return NULL;
}

static struct timespec as_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void *watch(void *data)
{
    wbpf_guest *guest = data;
    pthread_mutex_lock(&guest->mutex);
    while (!guest->watchdog_ends) {
        uint64_t now_ns = monotonic_ns(), at_ns = atomic_load(&guest->overtime_at_ns);
        if (now_ns >= at_ns) {
            atomic_store(&guest->is_overtime, true);
            wasmtime.wasmtime_engine_increment_epoch(guest->module->engine);
            break;
        }
        if (at_ns - now_ns > guest->deadline_ns)
            at_ns = now_ns + guest->deadline_ns;
        struct timespec until = as_timespec(at_ns);
        pthread_cond_timedwait(&guest->wake, &guest->mutex, &until);
    }
    pthread_mutex_unlock(&guest->mutex);
    return NULL;
}

static void start_watchdog(wbpf_guest *guest)
{
    if (!guest->deadline_ns)
        return;
    guest_resume(guest);
    guest->has_watchdog = pthread_create(&guest->watchdog, NULL, watch, guest) == 0;
}

static void end_watchdog(wbpf_guest *guest)
{
    if (!guest->has_watchdog)
        return;
    pthread_mutex_lock(&guest->mutex);
    guest->watchdog_ends = true;
    pthread_cond_signal(&guest->wake);
    pthread_mutex_unlock(&guest->mutex);
    pthread_join(guest->watchdog, NULL);
    guest->has_watchdog = false;
}

void guest_pause(wbpf_guest *guest)
{
    if (guest->deadline_ns)
        atomic_store_explicit(&guest->overtime_at_ns, UINT64_MAX, memory_order_relaxed);
}

void guest_resume(wbpf_guest *guest)
{
    if (guest->deadline_ns)
        atomic_store_explicit(&guest->overtime_at_ns, monotonic_ns() + guest->deadline_ns,
                              memory_order_relaxed);
}

static void end_waiting(wbpf_guest *guest, _Atomic bool *reason)
{
    pthread_mutex_lock(&guest->mutex);
    atomic_store(reason, true);
    if (guest->waits_on)
        wbpf_wait_set_wake(guest->waits_on);
    pthread_mutex_unlock(&guest->mutex);
}

void wbpf_guest_interrupt(wbpf_guest *guest)
{
    end_waiting(guest, &guest->is_interrupted);
}

void wbpf_guest_stop(wbpf_guest *guest)
{
    end_waiting(guest, &guest->is_stopped);
    wasmtime.wasmtime_engine_increment_epoch(guest->module->engine);
}

/* ---- making one ---- */

static ssize_t write_all(int fd, const unsigned char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t now = write(fd, bytes + done, size - done);
        if (now < 0 && errno != EINTR)
            return -errno;
        done += now > 0 ? (size_t)now : 0;
    }
    return (ssize_t)size;
}

static ssize_t write_stdout(void *data, const unsigned char *bytes, size_t size)
{
    const wbpf_guest *guest = data;
    return guest->write ? guest->write(guest->user, 1, bytes, size)
                        : write_all(guest->stdout_fd, bytes, size);
}

static ssize_t write_stderr(void *data, const unsigned char *bytes, size_t size)
{
    const wbpf_guest *guest = data;
    return guest->write ? guest->write(guest->user, 2, bytes, size)
                        : write_all(guest->stderr_fd, bytes, size);
}

static int set_wasi(wbpf_guest *guest, const wbpf_guest_spec *spec, char *why)
{
    wasi_config_t *config = wasmtime.wasi_config_new();
    if (!wasmtime.wasi_config_set_argv(config, spec->argument_count, spec->arguments) ||
        !wasmtime.wasi_config_set_env(config, spec->variable_count, spec->names, spec->values)) {
        snprintf(why, WBPF_WASM_WHY_BYTES, "an argument or a variable is not UTF-8");
        return -EILSEQ;
    }
    for (uint32_t i = 0; i < spec->folder_count; i++) {
        const wbpf_guest_folder *folder = &spec->folders[i];
        if (!wasmtime.wasi_config_preopen_dir(config, folder->host, folder->guest, folder->read_only)) {
            snprintf(why, WBPF_WASM_WHY_BYTES, "the folder %s can't be opened", folder->host);
            return -ENOENT;
        }
    }
    if (spec->with_stdin)
        wasmtime.wasi_config_inherit_stdin(config);
    wasmtime.wasi_config_set_stdout_custom(config, write_stdout, guest, NULL);
    wasmtime.wasi_config_set_stderr_custom(config, write_stderr, guest, NULL);
    wasmtime_error_t *error = wasmtime.wasmtime_context_set_wasi(guest->context, config);
    return error ? wbpf_wasm_explain(error, why) : 0;
}

static void set_limits(wbpf_guest *guest, const wbpf_guest_spec *spec)
{
    wasmtime.wasmtime_store_limiter(guest->store, (int64_t)spec->memory_bytes, 1 << 20, 1, 16, 1);
    wasmtime.wasmtime_store_epoch_deadline_callback(guest->store, on_epoch, guest, NULL);
    wasmtime.wasmtime_context_set_epoch_deadline(guest->context, 1);
    if (guest->module->with_fuel)
        (void)wasmtime.wasmtime_context_set_fuel(guest->context, spec->fuel); /* fails without fuel alone */
}

static int explain_trap(wasm_trap_t *trap, char *why)
{
    wasm_bytes_t text;
    wasmtime.wasm_trap_message(trap, &text);
    snprintf(why, WBPF_WASM_WHY_BYTES, "%.*s", (int)text.size, text.data);
    wasmtime.wasm_byte_vec_delete(&text);
    wasmtime.wasm_trap_delete(trap);
    return -EINVAL;
}

static int instantiate(wbpf_guest *guest, char *why)
{
    wasm_trap_t *trap = NULL;
    wasmtime_extern_t memory;
    int error = guest_link(guest, why);
    if (error)
        return error;
    wasmtime_error_t *failed = wasmtime.wasmtime_linker_instantiate(
        guest->linker, guest->context, guest->module->code, &guest->instance, &trap);
    if (failed || trap)
        return failed ? wbpf_wasm_explain(failed, why) : explain_trap(trap, why);
    if (wasmtime.wasmtime_instance_export_get(guest->context, &guest->instance, "memory", 6, &memory) &&
        memory.kind == WASMTIME_EXTERN_MEMORY) {
        guest->memory = memory.of.memory;
        guest->has_memory = true;
        guest_look_again(guest, 0, 0);
    }
    return 0;
}

uint8_t *guest_look_again(wbpf_guest *guest, uint32_t at, uint32_t bytes)
{
    if (!guest->has_memory)
        return NULL;
    guest->memory_bytes = wasmtime.wasmtime_memory_data_size(guest->context, &guest->memory);
    guest->memory_base = wasmtime.wasmtime_memory_data(guest->context, &guest->memory);
    return (uint64_t)at + bytes <= guest->memory_bytes ? guest->memory_base + at : NULL;
}

int wbpf_guest_create(wbpf_wasm_module *module, const wbpf_guest_spec *spec, wbpf_guest **out, char *why)
{
    wbpf_guest *guest = calloc(1, sizeof *guest);
    pthread_condattr_t clock;
    if (!guest || !(guest->handles = calloc(ABI_MAX_HANDLES, sizeof *guest->handles))) {
        free(guest);
        return -ENOMEM;
    }
    atomic_fetch_add(&module->users, 1);
    guest->module = module;
    guest->stdout_fd = spec->stdout_fd;
    guest->stderr_fd = spec->stderr_fd;
    guest->call = spec->call;
    guest->write = spec->write;
    guest->explain = spec->explain;
    guest->user = spec->user;
    guest->deadline_ns = spec->deadline_ns;
    guest->tells_waiting = spec->tells_waiting;
    guest->overtime_at_ns = UINT64_MAX;
    pthread_mutex_init(&guest->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&guest->wake, &clock);
    pthread_condattr_destroy(&clock);
    guest->store = wasmtime.wasmtime_store_new(module->engine, guest, NULL);
    guest->context = wasmtime.wasmtime_store_context(guest->store);
    guest->linker = wasmtime.wasmtime_linker_new(module->engine);
    set_limits(guest, spec);
    int error = set_wasi(guest, spec, why);
    if (!error)
        error = guest_grant_addresses(guest, spec->addresses, spec->address_count);
    if (error) {
        wbpf_guest_destroy(guest);
        return error;
    }
    *out = guest;
    return 0;
}

void wbpf_guest_destroy(wbpf_guest *guest)
{
    guest_handles_deinit(guest);
    windows_forget(guest);
    free(guest->bindings);
    free(guest->addresses);
    if (guest->lookup)
        lookup_drop(guest->lookup);
    if (guest->waiting)
        wbpf_wait_set_destroy(guest->waiting);
    wasmtime.wasmtime_linker_delete(guest->linker);
    wasmtime.wasmtime_store_delete(guest->store);
    wbpf_wasm_module_release(guest->module);
    pthread_cond_destroy(&guest->wake);
    pthread_mutex_destroy(&guest->mutex);
    free(guest);
}

uint64_t wbpf_guest_memory_bytes(const wbpf_guest *guest)
{
    return guest->has_memory ? wasmtime.wasmtime_memory_data_size(guest->context, &guest->memory) : 0;
}

/* ---- running ---- */

static void write_trace(const wasm_frame_vec_t *frames, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < frames->size && used < WBPF_WASM_WHY_BYTES; i++) {
        const wasm_bytes_t *name = wasmtime.wasmtime_frame_func_name(frames->data[i]);
        int bytes;
        if (name)
            bytes = snprintf(out + used, WBPF_WASM_WHY_BYTES - used, "%.*s\n", (int)name->size, name->data);
        else
            bytes = snprintf(out + used, WBPF_WASM_WHY_BYTES - used, "function %u\n",
                             wasmtime.wasm_frame_func_index(frames->data[i]));
        used += bytes > 0 ? (size_t)bytes : 0;
    }
}

static void conclude_error(wasmtime_error_t *error, wbpf_guest_end *end)
{
    wasm_frame_vec_t frames = {0};
    end->cause = WBPF_GUEST_TRAPPED;
    wasmtime.wasmtime_error_wasm_trace(error, &frames);
    write_trace(&frames, end->trace);
    wasmtime.wasm_frame_vec_delete(&frames);
    wbpf_wasm_explain(error, end->why);
}

static void conclude_trap(wasm_trap_t *trap, wbpf_guest_end *end)
{
    enum { OUT_OF_FUEL = 11 };
    wasm_frame_vec_t frames;
    uint8_t code;
    end->cause = WBPF_GUEST_TRAPPED;
    if (wasmtime.wasmtime_trap_code(trap, &code) && code == OUT_OF_FUEL)
        end->cause = WBPF_GUEST_OVERTIME;
    wasmtime.wasm_trap_trace(trap, &frames);
    write_trace(&frames, end->trace);
    wasmtime.wasm_frame_vec_delete(&frames);
    explain_trap(trap, end->why);
}

/* What the host did or saw weighs more than the trap that it ended the guest with. */
static void weigh(wbpf_guest *guest, wbpf_guest_end *end)
{
    if (guest->has_exited) {
        end->cause = WBPF_GUEST_EXITED;
        end->exit_status = guest->exit_status;
        end->why[0] = end->trace[0] = 0;
    } else if (guest->is_refused) {
        end->cause = WBPF_GUEST_REFUSED;
        memcpy(end->why, guest->why, sizeof end->why);
    } else if (atomic_load(&guest->has_violated)) {
        end->cause = WBPF_GUEST_REFUSED;
        snprintf(end->why, sizeof end->why, "it had a window of its memory written that is only to be read");
    } else if (end->cause == WBPF_GUEST_EXITED) {
        return;
    } else if (atomic_load(&guest->is_stopped)) {
        end->cause = WBPF_GUEST_STOPPED;
    } else if (atomic_load(&guest->is_overtime)) {
        end->cause = WBPF_GUEST_OVERTIME;
        snprintf(end->why, sizeof end->why, "it computed for %llu ms without waiting for anything",
                 (unsigned long long)guest->deadline_ns / 1000000);
    }
}

int guest_find_function(wbpf_guest *guest, const char *name, wasmtime_func_t *out)
{
    wasmtime_extern_t found;
    if (!wasmtime.wasmtime_instance_export_get(guest->context, &guest->instance, name, strlen(name),
                                               &found) ||
        found.kind != WASMTIME_EXTERN_FUNC)
        return -ENOENT;
    *out = found.of.func;
    return 0;
}

/* The table that compilers export; by another name the first one there is. */
static bool find_table(wbpf_guest *guest, wasmtime_table_t *out)
{
    static const char usual[] = "__indirect_function_table";
    wasmtime_extern_t found;
    bool has = wasmtime.wasmtime_instance_export_get(guest->context, &guest->instance, usual,
                                                     sizeof usual - 1, &found) &&
               found.kind == WASMTIME_EXTERN_TABLE;
    char *name;
    size_t bytes;
    for (size_t i = 0; !has && wasmtime.wasmtime_instance_export_nth(guest->context, &guest->instance, i,
                                                                     &name, &bytes, &found);
         i++)
        has = found.kind == WASMTIME_EXTERN_TABLE;
    *out = found.of.table;
    return has;
}

int guest_table_function(wbpf_guest *guest, uint32_t index, wasmtime_func_t *out)
{
    wasmtime_table_t table;
    wasmtime_val_t value;
    if (!find_table(guest, &table) || !wasmtime.wasmtime_table_get(guest->context, &table, index, &value) ||
        value.kind != WASMTIME_FUNCREF || value.of.funcref.store_id == 0)
        return -ENOENT;
    *out = value.of.funcref;
    return 0;
}

bool guest_function_is(wbpf_guest *guest, const wasmtime_func_t *function, size_t parameters, size_t results)
{
    wasm_functype_t *type = wasmtime.wasmtime_func_type(guest->context, function);
    const wasm_valtype_vec_t *of[] = {wasmtime.wasm_functype_params(type),
                                      wasmtime.wasm_functype_results(type)};
    bool same = of[0]->size == parameters && of[1]->size == results;
    for (int k = 0; same && k < 2; k++)
        for (size_t i = 0; same && i < of[k]->size; i++)
            same = wasmtime.wasm_valtype_kind(of[k]->data[i]) == WASM_I32;
    wasmtime.wasm_functype_delete(type);
    return same;
}

static void conclude(wbpf_guest *guest, wasmtime_error_t *error, wasm_trap_t *trap, wbpf_guest_end *end)
{
    if (error)
        conclude_error(error, end);
    else if (trap)
        conclude_trap(trap, end);
    weigh(guest, end);
}

static int call_abi(wbpf_guest *guest, wbpf_guest_end *end)
{
    wasmtime_val_raw_t value = {.i32 = 0};
    wasm_trap_t *trap = NULL;
    wasmtime_func_t function;
    if (guest_find_function(guest, "wbpf_abi", &function) != 0 || !guest_function_is(guest, &function, 0, 1))
        return 0;
    wasmtime_error_t *error =
        wasmtime.wasmtime_func_call_unchecked(guest->context, &function, &value, 1, &trap);
    if (error || trap) {
        conclude(guest, error, trap, end);
        return -EINVAL;
    }
    if (value.i32 == ABI_VERSION)
        return 0;
    end->cause = WBPF_GUEST_REFUSED;
    snprintf(end->why, sizeof end->why, "it was built for version %d of the guest ABI `wbpf`, this is %d",
             value.i32, ABI_VERSION);
    return -EINVAL;
}

void wbpf_guest_run(wbpf_guest *guest, wbpf_guest_end *end)
{
    wasmtime_val_raw_t none = {.i32 = 0};
    wasm_trap_t *trap = NULL;
    wasmtime_func_t start;
    *end = (wbpf_guest_end){.cause = WBPF_GUEST_EXITED};
    start_watchdog(guest);
    if (instantiate(guest, end->why) != 0) {
        end->cause = WBPF_GUEST_REFUSED;
        weigh(guest, end);
    } else if (call_abi(guest, end) != 0) {
        /* said there */
    } else if (guest_find_function(guest, "_start", &start) != 0 || !guest_function_is(guest, &start, 0, 0)) {
        end->cause = WBPF_GUEST_REFUSED;
        snprintf(end->why, sizeof end->why, "it exports no function _start without parameters");
    } else {
        wasmtime_error_t *error =
            wasmtime.wasmtime_func_call_unchecked(guest->context, &start, &none, 1, &trap);
        conclude(guest, error, trap, end);
    }
    end_watchdog(guest);
}

/* Objects, programs and maps of a guest: opened, set, loaded and found. */
#include "host.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BYTES 64 /* of the largest value that holds a descriptor */

/* ---- failures ---- */

void host_add(struct wbpf_host *host, const char *text, size_t bytes)
{
    wbpf_host_failure *failure = &host->failure;
    uint32_t size = (uint32_t)bytes;
    if (failure->bytes + sizeof size + bytes > failure->room) {
        size_t room = 2 * (failure->bytes + sizeof size + bytes);
        char *larger = realloc(failure->texts, room);
        if (!larger)
            return;
        failure->texts = larger;
        failure->room = room;
    }
    memcpy(failure->texts + failure->bytes, &size, sizeof size);
    memcpy(failure->texts + failure->bytes + sizeof size, text, bytes);
    failure->bytes += sizeof size + bytes;
}

void host_add_text(struct wbpf_host *host, const char *text)
{
    host_add(host, text ? text : "", text ? strlen(text) : 0);
}

void host_add_number(struct wbpf_host *host, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    host_add_text(host, text);
}

void host_fail(struct wbpf_host *host, const char *kind, int error)
{
    host->failure.bytes = 0;
    host->has_failed = true;
    host->is_explained = false;
    host_add_text(host, kind);
    host_add_number(host, error);
    wbpf_guest_refuse(host->guest, false, "%s", strerror(-error)); /* until it is explained */
}

void wbpf_host_explain(void *data)
{
    struct wbpf_host *host = data;
    char text[WBPF_WASM_WHY_BYTES] = "";
    if (!host->has_failed || host->is_explained)
        return;
    host->is_explained = true;
    if (host->spec->explain(host->spec->user, &host->failure, text) >= 0)
        wbpf_guest_refuse(host->guest, false, "%s", text);
}

int64_t host_answer(struct wbpf_host *host, int number)
{
    if (number != -EPERM && number != -EACCES)
        return number;
    char text[WBPF_WASM_WHY_BYTES] = "";
    int answer = host->spec->explain(host->spec->user, &host->failure, text);
    host->is_explained = true;
    if (answer > 0)
        wbpf_guest_refuse(host->guest, false, "%s", text);
    return answer > 0 ? -answer : -EPERM;
}

int64_t host_refuse(struct wbpf_host *host, const char *what, const char *name, const char *why, int error)
{
    char text[HOST_TEXT_BYTES];
    host_fail(host, "plain", error);
    snprintf(text, sizeof text, what, name);
    host_add_text(host, text);
    host_add_text(host, why);
    return error;
}

static int64_t refuse_number(struct wbpf_host *host, const char *what, const char *name, int error)
{
    enum { NOT_SUPPORTED = -524 }; /* ENOTSUPP, which user space has no name for */
    char why[256] = "";
    wbpf_libbpf_strerror(error, why, sizeof why);
    return host_refuse(host, what, name, why, error == NOT_SUPPORTED ? -EOPNOTSUPP : error);
}

/* There is nothing of a name: what is wanted, and where; the names that there are come behind it. */
static void fail_missing(struct wbpf_host *host, const char *what, const char *owner,
                         const wbpf_guest_argument *name)
{
    host_fail(host, "missing", -ENOENT);
    host_add_text(host, what);
    host_add_text(host, owner);
    host_add(host, (const char *)name->data, name->bytes);
}

/* ---- handles ---- */

int32_t host_keep(struct wbpf_host *host, char kind, int32_t handle, struct held *held, const char *name)
{
    if (handle > 0)
        host->things[place_of(handle)] =
            (struct thing){.handle = handle, .kind = kind, .held = held, .name = name};
    return handle;
}

static int32_t find_kept(struct wbpf_host *host, char kind, const struct held *held, const char *name)
{
    for (uint32_t i = 0; i < ABI_MAX_HANDLES; i++) {
        struct thing *one = &host->things[i];
        if (one->handle && one->kind == kind && one->held == held && strcmp(one->name, name) == 0)
            return one->handle;
    }
    return 0;
}

void host_detach(struct thing *link)
{
    while (link->part_count)
        wbpf_link_destroy(link->parts[--link->part_count]);
    free(link->parts);
    *link = (struct thing){0};
}

static void let_go(struct wbpf_host *host, struct held *held)
{
    for (uint32_t i = 0; i < ABI_MAX_HANDLES; i++) {
        struct thing *one = &host->things[i];
        if (!one->handle || one->held != held)
            continue;
        if (one->user_ring)
            wbpf_user_ring_close(one->user_ring);
        host_detach(one);
    }
    wbpf_object_close(held->object);
    free(held->name);
    free(held);
}

/* ---- opening ---- */

/* Whether it fits. */
static bool pack(const wbpf_host_param *param, uint8_t *out, uint32_t bytes)
{
    memset(out, 0, bytes);
    if (param->type == 's') {
        size_t used = strlen(param->text);
        if (used < bytes)
            memcpy(out, param->text, used);
        return used < bytes;
    }
    if (param->type == 'f' && (bytes == 4 || bytes == 8)) {
        double number;
        memcpy(&number, &param->bits, sizeof number);
        float narrow = (float)number;
        memcpy(out, bytes == 4 ? (void *)&narrow : (void *)&number, bytes);
        return true;
    }
    bool is_signed = param->type == 'i', is_negative = is_signed && (int64_t)param->bits < 0;
    uint32_t used = bytes < 8 ? bytes : 8;
    memcpy(out, &param->bits, used);
    memset(out + used, is_negative ? 0xff : 0, bytes - used);
    if (bytes >= 8)
        return param->type != 'f';
    if (!is_signed)
        return param->bits >> (8 * bytes) == 0 && param->type != 'f';
    int64_t limit = 1ll << (8 * bytes - 1), number = (int64_t)param->bits;
    return number >= -limit && number < limit;
}

static bool find_variable(const struct held *held, const char *name, wbpf_variable_info *out)
{
    for (uint32_t i = 0; wbpf_object_variable(held->object, i, out) == 0; i++)
        if (strcmp(out->name, name) == 0)
            return true;
    return false;
}

static int64_t set_filter(struct wbpf_host *host, struct held *held)
{
    static const char name[] = "wbpf_filter"; /* of wbpf/filter.bpf.h */
    const wbpf_host_spec *spec = host->spec;
    wbpf_variable_info variable;
    if (!find_variable(held, name, &variable)) {
        host_fail(host, "filter", -EINVAL);
        host_add_text(host, held->name);
        return -EINVAL;
    }
    int error = variable.bytes == spec->filter_bytes
                    ? wbpf_object_set(held->object, name, spec->filter, spec->filter_bytes)
                    : -EINVAL;
    return error ? refuse_number(host, "variable '%s' can't be used", name, error) : 0;
}

/* Parameters and what they choose, and the filter. */
static int64_t prepare(struct wbpf_host *host, struct held *held)
{
    const wbpf_host_spec *spec = host->spec;
    wbpf_variable_info variable;
    for (uint32_t i = 0; i < spec->unwanted_count; i++)
        wbpf_object_autoload(held->object, spec->unwanted[i], false); /* those that it has */
    for (uint32_t i = 0; i < spec->param_count; i++) {
        const wbpf_host_param *param = &spec->params[i];
        if (!*param->variable || !find_variable(held, param->variable, &variable))
            continue;
        uint8_t *value = malloc(variable.bytes + 1);
        bool fits = value && pack(param, value, variable.bytes);
        int error = fits ? wbpf_object_set(held->object, param->variable, value, variable.bytes) : 0;
        free(value);
        if (!fits) {
            host_fail(host, "param", -EINVAL);
            host_add_text(host, param->name);
            host_add_number(host, variable.bytes);
            return host_answer(host, -EINVAL);
        }
        if (error)
            return refuse_number(host, "variable '%s' can't be used", param->variable, error);
    }
    return spec->filter ? set_filter(host, held) : 0;
}

static int64_t open_object(struct wbpf_host *host, const void *elf, size_t bytes, const char *name)
{
    struct held *held = calloc(1, sizeof *held);
    char short_name[16];
    snprintf(short_name, sizeof short_name, "%s", name);
    for (char *at = short_name; *at; at++)
        if (!(*at == '_' || (*at >= '0' && *at <= '9') || ((*at | 32) >= 'a' && (*at | 32) <= 'z')))
            *at = '_';
    if (!held || !(held->name = strdup(name))) {
        free(held);
        return -ENOMEM;
    }
    wbpf_open_spec spec = {.name = short_name};
    int error = wbpf_object_open(elf, bytes, &spec, &held->object);
    if (error) {
        free(held->name);
        free(held);
        host_fail(host, "open", error);
        host_add_text(host, name);
        host_add_text(host, wbpf_open_log());
        host_add(host, elf, bytes);
        return host_answer(host, error == -EPERM || error == -EACCES ? error : -EINVAL);
    }
    int64_t result = prepare(host, held);
    int32_t handle = result < 0 ? 0 : wbpf_guest_add(host->guest, 'o', 0);
    if (handle <= 0) {
        let_go(host, held);
        return result < 0 ? result : WBPF_GUEST_END;
    }
    held->handle = handle;
    host->objects[place_of(handle)] = held;
    return handle;
}

static int64_t object_open(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    const wbpf_host_spec *spec = host->spec;
    char room[HOST_TEXT_BYTES];
    const char *name = text_of(&arguments[0], room);
    for (uint32_t i = 0; i < spec->object_count; i++) {
        const wbpf_host_object *one = &spec->objects[i];
        if (strcmp(one->name, name) == 0 || (!*name && spec->object_count == 1))
            return open_object(host, one->elf, one->bytes, one->name);
    }
    fail_missing(host, "object", "", &arguments[0]);
    for (uint32_t i = 0; i < spec->object_count; i++)
        host_add_text(host, spec->objects[i].name);
    return -ENOENT;
}

static int64_t object_open_mem(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    return open_object(host, arguments[0].data, arguments[0].bytes, "object");
}

static struct held *held_of(struct wbpf_host *host, const wbpf_guest_argument *argument)
{
    return host->objects[place_of(argument->number)];
}

static int64_t object_close(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    host->objects[place_of(held->handle)] = NULL;
    wbpf_guest_release(host->guest, held->handle);
    let_go(host, held);
    return 0;
}

/* ---- variables ---- */

static int64_t fail_variable(struct wbpf_host *host, struct held *held, const wbpf_guest_argument *name)
{
    wbpf_variable_info one;
    fail_missing(host, "variable", held->name, name);
    for (uint32_t i = 0; wbpf_object_variable(held->object, i, &one) == 0; i++)
        host_add_text(host, one.name);
    return -ENOENT;
}

static int64_t object_set(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_variable_info variable;
    if (!find_variable(held, text_of(&arguments[1], room), &variable))
        return fail_variable(host, held, &arguments[1]);
    if (held->is_loaded && strncmp(variable.section, ".rodata", 7) == 0)
        return -EBUSY;
    int error = arguments[2].bytes == variable.bytes
                    ? wbpf_object_set(held->object, variable.name, arguments[2].data, variable.bytes)
                    : -EINVAL;
    if (!error)
        return 0;
    host_fail(host, "variable", error);
    host_add_text(host, held->name);
    host_add_text(host, variable.name);
    host_add_text(host, variable.section);
    host_add_number(host, variable.bytes);
    host_add_number(host, arguments[2].bytes);
    return -EINVAL;
}

static int64_t object_get(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_variable_info variable;
    if (!find_variable(held, text_of(&arguments[1], room), &variable))
        return fail_variable(host, held, &arguments[1]);
    if (variable.bytes > arguments[2].bytes)
        return -ENOSPC;
    int error = wbpf_object_get(held->object, variable.name, arguments[2].data, variable.bytes);
    return error ? error : (int64_t)variable.bytes;
}

/* ---- loading ---- */

static int64_t check_types(struct wbpf_host *host, const struct held *held)
{
    wbpf_program_info program;
    const wbpf_host_spec *spec = host->spec;
    for (uint32_t i = 0; !spec->may_all && wbpf_object_program(held->object, i, &program) == 0; i++) {
        bool may = !program.autoload;
        for (uint32_t k = 0; k < spec->type_count; k++)
            may |= spec->types[k] == program.type;
        if (may)
            continue;
        host_fail(host, "type", -EPERM);
        host_add_text(host, program.name);
        host_add_number(host, program.type);
        return -EPERM;
    }
    return 0;
}

static int64_t fail_load(struct wbpf_host *host, const struct held *held, int error)
{
    wbpf_program_info program;
    host_fail(host, "load", error);
    host_add_text(host, held->name);
    host_add_text(host, wbpf_object_log(held->object));
    for (uint32_t i = 0; wbpf_object_program(held->object, i, &program) == 0; i++) {
        host_add_text(host, program.name);
        host_add_number(host, program.type);
        host_add_number(host, program.autoload);
    }
    return host_answer(host, error == -EPERM || error == -EACCES ? error : -EINVAL);
}

static bool find_map(const struct held *held, const char *name, wbpf_map_info *out)
{
    for (uint32_t i = 0; wbpf_object_map(held->object, i, out) == 0; i++)
        if (strcmp(out->name, name) == 0)
            return true;
    return false;
}

static int64_t object_load(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char why[WBPF_WASM_WHY_BYTES] = "";
    int64_t refused = check_types(host, held);
    if (refused)
        return refused;
    if (held->is_loaded) {
        host_fail(host, "loaded", -EINVAL);
        host_add_text(host, held->name);
        return -EINVAL;
    }
    int error = wbpf_object_load(held->object);
    if (error)
        return fail_load(host, held, error);
    held->is_loaded = true;
    for (uint32_t i = 0; i < ABI_MAX_HANDLES; i++) {
        struct thing *map = &host->things[i];
        wbpf_map_info info;
        if (!map->handle || map->kind != 'm' || map->held != held || !find_map(held, map->name, &info))
            continue;
        if (wbpf_guest_set_map(host->guest, map->handle, info.fd, why))
            return host_refuse(host, "map '%s' can't be used", map->name, why, -EINVAL);
    }
    return 0;
}

static int64_t wasm_load_bpf_object(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    int64_t handle = object_open_mem(host, arguments);
    if (handle < 0)
        return handle;
    wbpf_guest_argument object = {.kind = 'o', .number = handle};
    int64_t error = object_load(host, &object);
    if (error)
        object_close(host, &object);
    return error ? error : handle;
}

/* ---- programs ---- */

bool host_find_program(const struct held *held, const char *name, wbpf_program_info *out)
{
    for (uint32_t i = 0; wbpf_object_program(held->object, i, out) == 0; i++)
        if (!*name || strcmp(out->name, name) == 0)
            return true;
    return false;
}

static int64_t fail_program(struct wbpf_host *host, const struct held *held, const wbpf_guest_argument *name)
{
    wbpf_program_info program;
    fail_missing(host, "program", held->name, name);
    for (uint32_t i = 0; wbpf_object_program(held->object, i, &program) == 0; i++)
        host_add_text(host, program.name);
    return -ENOENT;
}

static int64_t program_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(held, text_of(&arguments[1], room), &program))
        return fail_program(host, held, &arguments[1]);
    int32_t handle = find_kept(host, 'p', held, program.name);
    if (!handle)
        handle = host_keep(host, 'p', wbpf_guest_add(host->guest, 'p', held->handle), held, program.name);
    return handle < 0 ? WBPF_GUEST_END : handle;
}

static int64_t program_autoload(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *program = thing_of(host, arguments);
    if (program->held->is_loaded)
        return -EBUSY;
    int error = wbpf_object_autoload(program->held->object, program->name, arguments[1].number != 0);
    return error ? refuse_number(host, "program '%s' can't be chosen", program->name, error) : 0;
}

static int64_t program_attach(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(thing->held, thing->name, &program) || !program.autoload)
        return -EOPNOTSUPP;
    return host_attach(host, thing->held, &program, text_of(&arguments[1], room),
                       (uint64_t)arguments[2].number);
}

static int64_t wasm_attach_bpf_program(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(held, text_of(&arguments[1], room), &program))
        return fail_program(host, held, &arguments[1]);
    bool takes_target = strcmp(program.section, "sockops") == 0 || strcmp(program.section, "xdp") == 0;
    return host_attach(host, held, &program, takes_target ? text_of(&arguments[2], room) : "", 0);
}

static int64_t program_run(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    wbpf_guest_argument *context = &arguments[1], *input = &arguments[2], *output = &arguments[3];
    wbpf_program_info program;
    if (!host_find_program(thing->held, thing->name, &program) || program.fd < 0)
        return host_refuse(host, "program '%s' can't be used", thing->name,
                           thing->held->is_loaded ? "its autoload was off" : "its object is not loaded",
                           -EINVAL);
    bool has_data = input->bytes > 0;
    wbpf_program_run_spec run = {
        .data = has_data ? input->data : NULL,
        .data_bytes = input->bytes,
        .context = context->bytes ? context->data : NULL,
        .context_bytes = context->bytes,
        .data_out = has_data && output->bytes ? output->data : NULL,
        .data_out_bytes = has_data ? output->bytes : 0,
        .context_out = has_data && context->bytes ? context->data : NULL,
        .context_out_bytes = has_data ? context->bytes : 0,
    };
    int error = wbpf_program_run(program.fd, &run);
    if (error)
        return refuse_number(host, "program '%s' can't be run", thing->name, error);
    uint32_t written = run.data_out_bytes < output->bytes ? run.data_out_bytes : output->bytes;
    struct abi_run result = {run.result, run.duration_ns, has_data ? written : 0, 0};
    memcpy(arguments[4].data, &result, sizeof result);
    return 0;
}

static int64_t link_detach(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *link = thing_of(host, arguments);
    wbpf_guest_release(host->guest, link->handle);
    host_detach(link);
    return 0;
}

/* ---- maps ---- */

static int64_t map_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = held_of(host, arguments);
    char room[HOST_TEXT_BYTES], why[WBPF_WASM_WHY_BYTES] = "";
    wbpf_map_info map;
    if (!find_map(held, text_of(&arguments[1], room), &map)) {
        fail_missing(host, "map", held->name, &arguments[1]);
        for (uint32_t i = 0; wbpf_object_map(held->object, i, &map) == 0; i++)
            host_add_text(host, map.name);
        return -ENOENT;
    }
    int32_t handle = find_kept(host, 'm', held, map.name);
    if (handle)
        return handle;
    handle = wbpf_guest_add_map(host->guest, held->handle, held->is_loaded ? map.fd : -1, why);
    if (handle == INT32_MIN)
        return WBPF_GUEST_END;
    if (handle < 0)
        return host_refuse(host, "map '%s' can't be used", map.name, why, -EINVAL);
    return host_keep(host, 'm', handle, held, map.name);
}

static int64_t map_window(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    return wbpf_guest_map_window(host->guest, (int32_t)arguments[0].number,
                                 arguments[1].number & ABI_WINDOW_WRITE);
}

/* Put what a descriptor stands for into a map of such. */
static int64_t put(struct wbpf_host *host, struct thing *thing, const wbpf_guest_argument *key, int fd)
{
    wbpf_map_info map;
    uint8_t value[COPY_BYTES] = {0};
    if (!find_map(thing->held, thing->name, &map) || map.fd < 0 || fd < 0)
        return host_refuse(host, "map '%s' can't be written", thing->name, "the object is not loaded",
                           -EINVAL);
    if (key->bytes != map.key_bytes || map.value_bytes > COPY_BYTES || map.value_bytes < sizeof fd)
        return host_refuse(host, "map '%s' can't be written", thing->name, "its keys or values are others",
                           -EINVAL);
    memcpy(value, &fd, sizeof fd);
    int error = wbpf_map_update(map.fd, key->data, value, 0);
    return error ? refuse_number(host, "map '%s' can't be written", thing->name, error) : 0;
}

static int64_t map_set_program(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, &arguments[2]);
    wbpf_program_info program;
    bool found = host_find_program(thing->held, thing->name, &program);
    return put(host, thing_of(host, arguments), &arguments[1], found ? program.fd : -1);
}

static int64_t map_set_map(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, &arguments[2]);
    wbpf_map_info inner;
    bool found = find_map(thing->held, thing->name, &inner);
    return put(host, thing_of(host, arguments), &arguments[1], found ? inner.fd : -1);
}

static int64_t map_resize(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *map = thing_of(host, arguments);
    if (map->held->is_loaded)
        return -EBUSY;
    int error = wbpf_object_resize_map(map->held->object, map->name, (uint32_t)arguments[2].number,
                                       (uint32_t)arguments[1].number);
    return error ? refuse_number(host, "map '%s' can't be resized", map->name, error) : 0;
}

static int64_t ring_open(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    int32_t ring = wbpf_guest_open_ring(host->guest, (int32_t)arguments[0].number,
                                        arguments[1].number & ABI_RING_IN_PLACE);
    return ring == INT32_MIN ? WBPF_GUEST_END : ring;
}

static int64_t user_ring_submit(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    wbpf_map_info map;
    static const char what[] = "ring '%s' can't be written";
    if (!find_map(thing->held, thing->name, &map) || map.fd < 0)
        return host_refuse(host, what, thing->name, "the object is not loaded", -EINVAL);
    int error = thing->user_ring ? 0 : wbpf_user_ring_open(map.fd, &thing->user_ring);
    if (error == -EINVAL)
        return host_refuse(host, what, thing->name,
                           "the map is of another kind, or the number of pages is no power of two", -EINVAL);
    if (error)
        return refuse_number(host, what, thing->name, error);
    error = wbpf_user_ring_submit(thing->user_ring, arguments[1].data, arguments[1].bytes);
    if (error && error != -ENOSPC) {
        char why[64];
        snprintf(why, sizeof why, "%u bytes never fit", arguments[1].bytes);
        return host_refuse(host, what, thing->name, why, error);
    }
    return error;
}

/* ---- what the guest knows and says ---- */

static int64_t param_get(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    char room[HOST_TEXT_BYTES];
    const char *name = text_of(arguments, room);
    for (uint32_t i = 0; i < host->spec->param_count; i++) {
        const wbpf_host_param *param = &host->spec->params[i];
        if (strcmp(param->name, name) != 0)
            continue;
        size_t bytes = strlen(param->text);
        memcpy(arguments[1].data, param->text, bytes < arguments[1].bytes ? bytes : arguments[1].bytes);
        return (int64_t)bytes;
    }
    fail_missing(host, "parameter", "", arguments);
    for (uint32_t i = 0; i < host->spec->param_count; i++)
        host_add_text(host, host->spec->params[i].name);
    return -ENOENT;
}

static int64_t event_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    char room[HOST_TEXT_BYTES];
    const char *name = text_of(arguments, room);
    for (uint32_t i = 0; i < host->spec->event_count; i++)
        if (strcmp(host->spec->events[i].name, name) == 0)
            return i;
    return -ENOENT;
}

static int64_t emit(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    uint32_t kind = (uint32_t)arguments[0].number, bytes = arguments[1].bytes;
    if (kind >= host->spec->event_count) {
        wbpf_guest_refuse(host->guest, false, "the manifest has no event type %u", kind);
        host->is_explained = true; /* these are the words */
        return -ENOENT;
    }
    uint32_t size = host->spec->events[kind].bytes;
    if (bytes % size) {
        wbpf_guest_refuse(host->guest, false, "%u bytes are no multiple of %u", bytes, size);
        host->is_explained = true;
        return -EINVAL;
    }
    guest_pause(host->guest); /* who prints them may be slow, which is not its computing */
    int64_t taken = host->spec->emit(host->spec->user, kind, arguments[1].data, bytes);
    guest_resume(host->guest);
    return taken;
}

static int64_t say(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    host->spec->log(host->spec->user, (uint32_t)arguments[0].number, (const char *)arguments[1].data,
                    arguments[1].bytes);
    return 0;
}

/* ---- calls ---- */

int64_t wbpf_host_call(void *data, const char *function, wbpf_guest_argument *arguments, uint32_t count)
{
    static const struct {
        const char *name;
        int64_t (*answer)(struct wbpf_host *host, wbpf_guest_argument *arguments);
    } all[] = {
#define ANSWER(name) {#name, name}
        ANSWER(object_open),
        ANSWER(object_open_mem),
        ANSWER(object_close),
        ANSWER(object_set),
        ANSWER(object_get),
        ANSWER(object_load),
        ANSWER(program_find),
        ANSWER(program_autoload),
        ANSWER(program_attach),
        ANSWER(program_run),
        ANSWER(link_detach),
        ANSWER(map_find),
        ANSWER(map_window),
        ANSWER(map_set_program),
        ANSWER(map_set_map),
        ANSWER(map_resize),
        ANSWER(ring_open),
        ANSWER(user_ring_submit),
        ANSWER(param_get),
        ANSWER(event_find),
        ANSWER(emit),
        {"log", say},
        ANSWER(wasm_load_bpf_object),
        ANSWER(wasm_attach_bpf_program),
#undef ANSWER
    };
    (void)count;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, function) == 0)
            return all[i].answer(data, arguments);
    return -ENOSYS; /* the plan of such a module says that Python is to run it */
}

wbpf_host *wbpf_host_create(const wbpf_host_spec *spec)
{
    struct wbpf_host *host = calloc(1, sizeof *host);
    if (host)
        host->spec = spec;
    return host;
}

void wbpf_host_serve(wbpf_host *host, wbpf_guest *guest)
{
    host->guest = guest;
}

const wbpf_host_failure *wbpf_host_failed(const wbpf_host *host)
{
    return host->has_failed ? &host->failure : NULL;
}

void wbpf_host_destroy(wbpf_host *host)
{
    for (uint32_t i = 0; i < ABI_MAX_HANDLES; i++)
        if (host->objects[i])
            let_go(host, host->objects[i]);
    free(host->failure.texts);
    free(host);
}

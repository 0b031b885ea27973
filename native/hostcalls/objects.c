/* Objects of a guest: opened, set and loaded. */
#include "host.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return error ? host_refuse_number(host, "variable '%s' can't be used", name, error) : 0;
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
            return host_refuse_number(host, "variable '%s' can't be used", param->variable, error);
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
        host_let_go(host, held);
        return result < 0 ? result : WBPF_GUEST_END;
    }
    held->handle = handle;
    host->objects[place_of(handle)] = held;
    return handle;
}

int64_t answer_object_open(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    const wbpf_host_spec *spec = host->spec;
    char room[HOST_TEXT_BYTES];
    const char *name = text_of(&arguments[0], room);
    for (uint32_t i = 0; i < spec->object_count; i++) {
        const wbpf_host_object *one = &spec->objects[i];
        if (strcmp(one->name, name) == 0 || (!*name && spec->object_count == 1))
            return open_object(host, one->elf, one->bytes, one->name);
    }
    host_fail_missing(host, "object", "", &arguments[0]);
    for (uint32_t i = 0; i < spec->object_count; i++)
        host_add_text(host, spec->objects[i].name);
    return -ENOENT;
}

int64_t answer_object_open_mem(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    return open_object(host, arguments[0].data, arguments[0].bytes, "object");
}

int64_t answer_object_close(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
    host->objects[place_of(held->handle)] = NULL;
    wbpf_guest_release(host->guest, held->handle);
    host_let_go(host, held);
    return 0;
}

/* ---- variables ---- */

static int64_t fail_variable(struct wbpf_host *host, struct held *held, const wbpf_guest_argument *name)
{
    wbpf_variable_info one;
    host_fail_missing(host, "variable", held->name, name);
    for (uint32_t i = 0; wbpf_object_variable(held->object, i, &one) == 0; i++)
        host_add_text(host, one.name);
    return -ENOENT;
}

int64_t answer_object_set(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
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

int64_t answer_object_get(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
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

int64_t answer_object_load(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
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
        if (!map->handle || map->kind != 'm' || map->held != held || !host_find_map(held, map->name, &info))
            continue;
        if (wbpf_guest_set_map(host->guest, map->handle, info.fd, why))
            return host_refuse(host, "map '%s' can't be used", map->name, why, -EINVAL);
    }
    return 0;
}

int64_t answer_wasm_load_bpf_object(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    int64_t handle = answer_object_open_mem(host, arguments);
    if (handle < 0)
        return handle;
    wbpf_guest_argument object = {.kind = 'o', .number = handle};
    int64_t error = answer_object_load(host, &object);
    if (error)
        answer_object_close(host, &object);
    return error ? error : handle;
}

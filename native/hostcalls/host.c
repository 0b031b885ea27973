/* Calls of a guest that need more than C memory: who answers them, what failed, and what handles stand for.
 */
#include "host.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int64_t host_refuse_number(struct wbpf_host *host, const char *what, const char *name, int error)
{
    enum { NOT_SUPPORTED = -524 }; /* ENOTSUPP, which user space has no name for */
    char why[256] = "";
    wbpf_libbpf_strerror(error, why, sizeof why);
    return host_refuse(host, what, name, why, error == NOT_SUPPORTED ? -EOPNOTSUPP : error);
}

/* There is nothing of a name: what is wanted, and where; the names that there are come behind it. */
void host_fail_missing(struct wbpf_host *host, const char *what, const char *owner,
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

int32_t host_find_kept(struct wbpf_host *host, char kind, const struct held *held, const char *name)
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

void host_let_go(struct wbpf_host *host, struct held *held)
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

/* ---- what the guest knows and says ---- */

int64_t answer_param_get(struct wbpf_host *host, wbpf_guest_argument *arguments)
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
    host_fail_missing(host, "parameter", "", arguments);
    for (uint32_t i = 0; i < host->spec->param_count; i++)
        host_add_text(host, host->spec->params[i].name);
    return -ENOENT;
}

int64_t answer_event_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    char room[HOST_TEXT_BYTES];
    const char *name = text_of(arguments, room);
    for (uint32_t i = 0; i < host->spec->event_count; i++)
        if (strcmp(host->spec->events[i].name, name) == 0)
            return i;
    return -ENOENT;
}

int64_t answer_emit(struct wbpf_host *host, wbpf_guest_argument *arguments)
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

int64_t answer_log(struct wbpf_host *host, wbpf_guest_argument *arguments)
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
#define ANSWER(name) {#name, answer_##name},
        HOST_ANSWERS(ANSWER)
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
            host_let_go(host, host->objects[i]);
    free(host->failure.texts);
    free(host);
}

/* What host.c, objects.c, programs.c, object_maps.c and links.c share: they answer calls of one guest. */
#ifndef WBPF_HOSTCALLS_HOST_H
#define WBPF_HOSTCALLS_HOST_H

#include "guest.h"
#include <string.h>

#define HOST_TEXT_BYTES 4096

struct held {
    wbpf_object *object;
    char *name;
    int32_t handle;
    bool is_loaded;
};

/* What a handle of a program, map or link stands for. */
struct thing {
    int32_t handle; /* 0: none */
    char kind;
    struct held *held;
    const char *name; /* libbpf's, as long as the object is there */
    wbpf_user_ring *user_ring;
    wbpf_link **parts; /* of a link */
    uint32_t part_count;
};

struct wbpf_host {
    const wbpf_host_spec *spec;
    wbpf_guest *guest;
    struct held *objects[ABI_MAX_HANDLES]; /* by the places of their handles */
    struct thing things[ABI_MAX_HANDLES];
    wbpf_host_failure failure;
    bool has_failed, is_explained;
};

static inline uint32_t place_of(int64_t handle)
{
    return (uint32_t)handle & (ABI_MAX_HANDLES - 1);
}

static inline struct thing *thing_of(struct wbpf_host *host, const wbpf_guest_argument *argument)
{
    return &host->things[place_of(argument->number)];
}

static inline struct held *host_held_of(struct wbpf_host *host, const wbpf_guest_argument *argument)
{
    return host->objects[place_of(argument->number)];
}

/* A text of the guest's with a NUL behind it; one that is too long, or has a NUL in it, is cut. */
static inline const char *text_of(const wbpf_guest_argument *argument, char room[HOST_TEXT_BYTES])
{
    uint32_t bytes = argument->bytes < HOST_TEXT_BYTES ? argument->bytes : HOST_TEXT_BYTES - 1;
    memcpy(room, argument->data, bytes);
    room[bytes] = 0;
    return room;
}

/* Note a failure: its kind, errno and what else is to be known of it, each with host_add(). */
void host_fail(struct wbpf_host *host, const char *kind, int error);
void host_add(struct wbpf_host *host, const char *text, size_t bytes);
void host_add_text(struct wbpf_host *host, const char *text);
void host_add_number(struct wbpf_host *host, int64_t number);
/* What the guest gets for it: `number`, unless a right may be missing, which only the explanation knows. */
int64_t host_answer(struct wbpf_host *host, int number);
/* A failure in words of our own. */
int64_t host_refuse(struct wbpf_host *host, const char *what, const char *name, const char *why, int error);

int64_t host_refuse_number(struct wbpf_host *host, const char *what, const char *name, int error);
/* There is nothing of a name: what is wanted, and where; the names that there are come behind it. */
void host_fail_missing(struct wbpf_host *host, const char *what, const char *owner,
                       const wbpf_guest_argument *name);

bool host_find_map(const struct held *held, const char *name, wbpf_map_info *out);
bool host_find_program(const struct held *held, const char *name, wbpf_program_info *out);
int32_t host_keep(struct wbpf_host *host, char kind, int32_t handle, struct held *held, const char *name);
/* The handle that a name has already; 0: none. */
int32_t host_find_kept(struct wbpf_host *host, char kind, const struct held *held, const char *name);
/* Close an object and what hangs on it. */
void host_let_go(struct wbpf_host *host, struct held *held);
/* By which the handle of what is in `thing` is let go of. */
void host_detach(struct thing *link);

/* The calls, each answered by a function answer_NAME. */
/* clang-format off */
#define HOST_ANSWERS(X) \
    X(object_open) X(object_open_mem) X(object_close) X(object_set) \
    X(object_get) X(object_load) X(program_find) X(program_autoload) \
    X(program_attach) X(program_run) X(link_detach) X(map_find) \
    X(map_window) X(map_set_program) X(map_set_map) X(map_resize) \
    X(ring_open) X(user_ring_submit) X(param_get) X(event_find) \
    X(emit) X(log) X(wasm_load_bpf_object) X(wasm_attach_bpf_program)
/* clang-format on */

#define HOST_DECLARE(name) int64_t answer_##name(struct wbpf_host *host, wbpf_guest_argument *arguments);
HOST_ANSWERS(HOST_DECLARE)
#undef HOST_DECLARE

/* links.c */
int64_t host_attach(struct wbpf_host *host, struct held *held, const wbpf_program_info *program,
                    const char *target, uint64_t cookie);

#endif

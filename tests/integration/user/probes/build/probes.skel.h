/* made by wbpf build from probes.bpf.c: do not edit */
#ifndef PROBES_SKEL_H
#define PROBES_SKEL_H

#include <wbpf.h>

struct order {
    uint64_t number;
    uint32_t thread;
    uint32_t reserved;
};
_Static_assert(sizeof(struct order) == 16, "as in eBPF");
_Static_assert(offsetof(struct order, number) == 0, "as in eBPF");
_Static_assert(offsetof(struct order, thread) == 8, "as in eBPF");
_Static_assert(offsetof(struct order, reserved) == 12, "as in eBPF");

struct probes {
    wbpf_object object;
    struct {
        wbpf_map events, quiet;
    } maps;
    struct {
        wbpf_program on_order;
    } programs;
    struct {
        wbpf_link on_order;
    } links;
};

/* Opens the object; variables can be set until it is loaded. */
WBPF_SDK int probes_open(struct probes *self)
{
    memset(self, 0, sizeof *self);
    self->object = wbpf_object_open("probes");
    if (self->object < 0)
        return self->object;
    if ((self->maps.events = wbpf_map_find(self->object, "events")) < 0)
        return self->maps.events;
    if ((self->maps.quiet = wbpf_map_find(self->object, "quiet")) < 0)
        return self->maps.quiet;
    if ((self->programs.on_order = wbpf_program_find(self->object, "on_order")) < 0)
        return self->programs.on_order;
    return 0;
}

WBPF_SDK int probes_load(struct probes *self)
{
    return wbpf_object_load(self->object);
}

/* Attaches the programs that were loaded to what their sections name; not those with a `?`. */
WBPF_SDK int probes_attach(struct probes *self)
{
    self->links.on_order = wbpf_program_attach(self->programs.on_order, NULL);
    if (self->links.on_order < 0 && self->links.on_order != -WBPF_ENOTSUP)
        return self->links.on_order;
    return 0;
}

/* Opens, loads and attaches. */
WBPF_SDK int probes_start(struct probes *self)
{
    int error = probes_open(self);
    if (!error)
        error = probes_load(self);
    return error ? error : probes_attach(self);
}

WBPF_SDK int probes_close(struct probes *self)
{
    return wbpf_object_close(self->object);
}

/* At any time. */
WBPF_SDK int probes_set_count(struct probes *self, uint64_t value)
{
    return wbpf_object_set(self->object, "count", &value, 8);
}

WBPF_SDK int probes_get_count(struct probes *self, uint64_t *value)
{
    return wbpf_object_get(self->object, "count", value, 8);
}

#endif

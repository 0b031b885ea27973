/* made by wbpf build from moved.bpf.c: do not edit */
#ifndef MOVED_SKEL_H
#define MOVED_SKEL_H

#include <wbpf.h>

struct seen {
    int64_t price_cents;
    int32_t number;
    int32_t customer;
    char name[16];
};
_Static_assert(sizeof(struct seen) == 32, "as in eBPF");
_Static_assert(offsetof(struct seen, price_cents) == 0, "as in eBPF");
_Static_assert(offsetof(struct seen, number) == 8, "as in eBPF");
_Static_assert(offsetof(struct seen, customer) == 12, "as in eBPF");
_Static_assert(offsetof(struct seen, name) == 16, "as in eBPF");

struct moved {
    wbpf_object object;
    struct {
        wbpf_map events;
    } maps;
    struct {
        wbpf_program on_order;
    } programs;
    struct {
        wbpf_link on_order;
    } links;
};

/* Opens the object; variables can be set until it is loaded. */
WBPF_SDK int moved_open(struct moved *self)
{
    memset(self, 0, sizeof *self);
    self->object = wbpf_object_open("moved");
    if (self->object < 0)
        return self->object;
    if ((self->maps.events = wbpf_map_find(self->object, "events")) < 0)
        return self->maps.events;
    if ((self->programs.on_order = wbpf_program_find(self->object, "on_order")) < 0)
        return self->programs.on_order;
    return 0;
}

WBPF_SDK int moved_load(struct moved *self)
{
    return wbpf_object_load(self->object);
}

/* Attaches the programs that were loaded to what their sections name; not those with a `?`. */
WBPF_SDK int moved_attach(struct moved *self)
{
    self->links.on_order = wbpf_program_attach(self->programs.on_order, NULL);
    if (self->links.on_order < 0 && self->links.on_order != -WBPF_ENOTSUP)
        return self->links.on_order;
    return 0;
}

/* Opens, loads and attaches. */
WBPF_SDK int moved_start(struct moved *self)
{
    int error = moved_open(self);
    if (!error)
        error = moved_load(self);
    return error ? error : moved_attach(self);
}

WBPF_SDK int moved_close(struct moved *self)
{
    return wbpf_object_close(self->object);
}

#endif

/* made by wbpf build from both.bpf.c: do not edit */
#ifndef BOTH_SKEL_H
#define BOTH_SKEL_H

#include <wbpf.h>

/* A CPU's value of percpu: lookups fill wbpf_map_cpus() of them. */
struct both_percpu_slot {
    _Alignas(8) uint64_t value;
};
_Static_assert(sizeof(struct both_percpu_slot) == 8, "as the kernel has it");

struct both {
    wbpf_object object;
    struct {
        wbpf_map hash, shared, second, first, lru, percpu, queue;
    } maps;
    struct {
        wbpf_program fill;
    } programs;
    struct {
        wbpf_link fill;
    } links;
};

/* Opens the object; variables can be set until it is loaded. */
WBPF_SDK int both_open(struct both *self)
{
    memset(self, 0, sizeof *self);
    self->object = wbpf_object_open("both");
    if (self->object < 0)
        return self->object;
    if ((self->maps.hash = wbpf_map_find(self->object, "hash")) < 0)
        return self->maps.hash;
    if ((self->maps.shared = wbpf_map_find(self->object, "shared")) < 0)
        return self->maps.shared;
    if ((self->maps.second = wbpf_map_find(self->object, "second")) < 0)
        return self->maps.second;
    if ((self->maps.first = wbpf_map_find(self->object, "first")) < 0)
        return self->maps.first;
    if ((self->maps.lru = wbpf_map_find(self->object, "lru")) < 0)
        return self->maps.lru;
    if ((self->maps.percpu = wbpf_map_find(self->object, "percpu")) < 0)
        return self->maps.percpu;
    if ((self->maps.queue = wbpf_map_find(self->object, "queue")) < 0)
        return self->maps.queue;
    if ((self->programs.fill = wbpf_program_find(self->object, "fill")) < 0)
        return self->programs.fill;
    return 0;
}

WBPF_SDK int both_load(struct both *self)
{
    return wbpf_object_load(self->object);
}

/* Attaches the programs that were loaded to what their sections name; not those with a `?`. */
WBPF_SDK int both_attach(struct both *self)
{
    self->links.fill = wbpf_program_attach(self->programs.fill, NULL);
    if (self->links.fill < 0 && self->links.fill != -WBPF_ENOTSUP)
        return self->links.fill;
    return 0;
}

/* Opens, loads and attaches. */
WBPF_SDK int both_start(struct both *self)
{
    int error = both_open(self);
    if (!error)
        error = both_load(self);
    return error ? error : both_attach(self);
}

WBPF_SDK int both_close(struct both *self)
{
    return wbpf_object_close(self->object);
}

WBPF_SDK int both_hash_lookup(struct both *self, const uint32_t *key, uint64_t *value)
{
    return wbpf_map_lookup(self->maps.hash, key, 4, value, 8);
}

WBPF_SDK int both_hash_update(struct both *self, const uint32_t *key, const uint64_t *value)
{
    return wbpf_map_update(self->maps.hash, key, 4, value, 8);
}

WBPF_SDK int both_hash_delete(struct both *self, const uint32_t *key)
{
    return wbpf_map_delete(self->maps.hash, key, 4);
}

WBPF_SDK int both_hash_next(struct both *self, const uint32_t *key, uint32_t *next)
{
    return wbpf_map_next_key(self->maps.hash, key, next, 4);
}

WBPF_SDK int both_shared_lookup(struct both *self, const uint32_t *key, uint64_t *value)
{
    return wbpf_map_lookup(self->maps.shared, key, 4, value, 8);
}

WBPF_SDK int both_shared_update(struct both *self, const uint32_t *key, const uint64_t *value)
{
    return wbpf_map_update(self->maps.shared, key, 4, value, 8);
}

WBPF_SDK int both_shared_delete(struct both *self, const uint32_t *key)
{
    return wbpf_map_delete(self->maps.shared, key, 4);
}

WBPF_SDK int both_shared_next(struct both *self, const uint32_t *key, uint32_t *next)
{
    return wbpf_map_next_key(self->maps.shared, key, next, 4);
}

WBPF_SDK int both_lru_lookup(struct both *self, const uint32_t *key, uint64_t *value)
{
    return wbpf_map_lookup(self->maps.lru, key, 4, value, 8);
}

WBPF_SDK int both_lru_update(struct both *self, const uint32_t *key, const uint64_t *value)
{
    return wbpf_map_update(self->maps.lru, key, 4, value, 8);
}

WBPF_SDK int both_lru_delete(struct both *self, const uint32_t *key)
{
    return wbpf_map_delete(self->maps.lru, key, 4);
}

WBPF_SDK int both_lru_next(struct both *self, const uint32_t *key, uint32_t *next)
{
    return wbpf_map_next_key(self->maps.lru, key, next, 4);
}

WBPF_SDK int both_percpu_lookup(struct both *self, const uint32_t *key, struct both_percpu_slot *values)
{
    return wbpf_map_lookup(self->maps.percpu, key, 4, values, wbpf_map_cpus(self->maps.percpu) * sizeof *values);
}

WBPF_SDK int both_percpu_update(struct both *self, const uint32_t *key, const struct both_percpu_slot *values)
{
    return wbpf_map_update(self->maps.percpu, key, 4, values, wbpf_map_cpus(self->maps.percpu) * sizeof *values);
}

WBPF_SDK int both_percpu_delete(struct both *self, const uint32_t *key)
{
    return wbpf_map_delete(self->maps.percpu, key, 4);
}

WBPF_SDK int both_percpu_next(struct both *self, const uint32_t *key, uint32_t *next)
{
    return wbpf_map_next_key(self->maps.percpu, key, next, 4);
}

/* Before loading only. */
WBPF_SDK int both_set_factor(struct both *self, uint64_t value)
{
    return wbpf_object_set(self->object, "factor", &value, 8);
}

WBPF_SDK int both_get_factor(struct both *self, uint64_t *value)
{
    return wbpf_object_get(self->object, "factor", value, 8);
}

/* At any time. */
WBPF_SDK int both_set_runs(struct both *self, uint64_t value)
{
    return wbpf_object_set(self->object, "runs", &value, 8);
}

WBPF_SDK int both_get_runs(struct both *self, uint64_t *value)
{
    return wbpf_object_get(self->object, "runs", value, 8);
}

#endif

/* Helpers that work on maps, on memory that may not be there, and with functions of the program. */
#include "maps/maps.h"
#include "user/helpers.h"
#include "user/packets.h"
#include "user/syscalls.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#define UNUSED __attribute__((unused))
#define HELPER(name)                                                                                         \
    static uint64_t name(struct wbpf_env UNUSED *env, uint64_t UNUSED r1, uint64_t UNUSED r2,                \
                         uint64_t UNUSED r3, uint64_t UNUSED r4, uint64_t UNUSED r5)
#define MAP(r)       ((wbpf_user_map *)(uintptr_t)(r))
#define MEMORY(r)    ((void *)(uintptr_t)(r))
#define ADDRESS(p)   ((uint64_t)(uintptr_t)(p))
#define ANSWER(code) ((uint64_t)(int64_t)(code))

enum { PAGE = 4096, LOOPS_MOST = 1 << 23 };

HELPER(map_lookup_elem)
{
    return ADDRESS(wbpf_user_map_find(MAP(r1), MEMORY(r2)));
}

HELPER(map_lookup_percpu_elem)
{
    return ADDRESS(wbpf_user_map_find_on(MAP(r1), MEMORY(r2), (uint32_t)r3));
}

HELPER(map_update_elem)
{
    return ANSWER(wbpf_user_map_put(MAP(r1), MEMORY(r2), MEMORY(r3), r4));
}

HELPER(map_delete_elem)
{
    return ANSWER(wbpf_user_map_delete(MAP(r1), MEMORY(r2)));
}

HELPER(map_push_elem)
{
    return ANSWER(wbpf_user_map_push(MAP(r1), MEMORY(r2), r3));
}

HELPER(map_pop_elem)
{
    return ANSWER(wbpf_user_map_pop(MAP(r1), MEMORY(r2)));
}

HELPER(map_peek_elem)
{
    return ANSWER(wbpf_user_map_peek(MAP(r1), MEMORY(r2)));
}

HELPER(perf_event_output)
{
    return ANSWER(wbpf_shared_ring_emit(MAP(r2), r3, MEMORY(r4), r5, NULL, 0));
}

HELPER(ringbuf_output)
{
    return ANSWER(wbpf_shared_ring_output(MAP(r1), MEMORY(r2), r3, r4));
}

HELPER(ringbuf_reserve)
{
    return r3 ? 0 : ADDRESS(wbpf_shared_ring_reserve(MAP(r1), r2));
}

HELPER(ringbuf_submit)
{
    wbpf_shared_ring_submit(MEMORY(r1), r2, false);
    return 0;
}

HELPER(ringbuf_discard)
{
    wbpf_shared_ring_submit(MEMORY(r1), r2, true);
    return 0;
}

HELPER(ringbuf_query)
{
    return wbpf_shared_ring_query(MAP(r1), r2);
}

HELPER(spin_lock)
{
    wbpf_value_lock(MEMORY(r1));
    return 0;
}

HELPER(spin_unlock)
{
    wbpf_value_unlock(MEMORY(r1));
    return 0;
}

/* ---- functions of the program ---- */

struct visit {
    struct wbpf_env *env;
    wbpf_helper function;
    uint64_t map, context;
};

static wbpf_helper function_at(uint64_t address)
{
    wbpf_helper function;
    void *start = MEMORY(address);
    memcpy(&function, &start, sizeof function);
    return function;
}

/* Without fuel it ends, as if the function had said so. */
static uint64_t visit_element(void *context, const void *key, void *value)
{
    const struct visit *visit = context;
    uint64_t ends = visit->function(visit->env, visit->map, ADDRESS(key), ADDRESS(value), visit->context, 0);
    return ends || --visit->env->fuel <= 0;
}

HELPER(for_each_map_elem)
{
    struct visit visit = {env, function_at(r2), r1, r3};
    return r4 ? ANSWER(-EINVAL) : ANSWER(wbpf_user_map_for_each(MAP(r1), visit_element, &visit));
}

HELPER(loop)
{
    wbpf_helper function = function_at(r2);
    uint32_t count = (uint32_t)r1, i = 0;
    if (r4)
        return ANSWER(-EINVAL);
    if (count > LOOPS_MOST)
        return ANSWER(-E2BIG);
    while (i < count) {
        if (--env->fuel <= 0)
            return ANSWER(-E2BIG);
        if (function(env, i++, r3, 0, 0, 0))
            break;
    }
    return i;
}

/* ---- records that are written for programs; a dynptr is known to what is called with it alone ---- */

struct dynptr {
    uint8_t *data;
    uint64_t bytes;
};

static uint64_t visit_record(void *context, const void *data, uint32_t bytes)
{
    const struct visit *visit = context;
    struct dynptr dynptr = {MEMORY(ADDRESS(data)), bytes};
    uint64_t ends = visit->function(visit->env, ADDRESS(&dynptr), visit->context, 0, 0, 0);
    return ends || --visit->env->fuel <= 0;
}

HELPER(user_ringbuf_drain)
{
    struct visit visit = {env, function_at(r2), r1, r3};
    if (r4 & ~(uint64_t)(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP))
        return ANSWER(-EINVAL);
    bool held = env->holds;
    env->holds = true; /* the ring: nothing that may be stopped is called meanwhile */
    int64_t drained = wbpf_user_ring_drain(MAP(r1), visit_record, &visit);
    env->holds = held;
    return ANSWER(drained);
}

static void *part(const struct dynptr *dynptr, uint64_t offset, uint64_t bytes)
{
    return bytes > dynptr->bytes || offset > dynptr->bytes - bytes ? NULL : dynptr->data + offset;
}

HELPER(dynptr_read)
{
    const void *from = part(MEMORY(r3), (uint32_t)r4, (uint32_t)r2);
    if (r5)
        return ANSWER(-EINVAL);
    if (!from)
        return ANSWER(-E2BIG);
    memmove(MEMORY(r1), from, (uint32_t)r2);
    return 0;
}

HELPER(dynptr_write)
{
    void *to = part(MEMORY(r1), (uint32_t)r2, (uint32_t)r4);
    if (r5)
        return ANSWER(-EINVAL);
    if (!to)
        return ANSWER(-E2BIG);
    memmove(to, MEMORY(r3), (uint32_t)r4);
    return 0;
}

HELPER(dynptr_data)
{
    return ADDRESS(part(MEMORY(r1), (uint32_t)r2, (uint32_t)r3));
}

/* ---- memory that may not be there ---- */

HELPER(probe_read)
{
    uint32_t bytes = (uint32_t)r2;
    int error = bytes ? wbpf_memory_read(MEMORY(r1), r3, bytes) : 0;
    if (error)
        memset(MEMORY(r1), 0, bytes);
    return ANSWER(error);
}

/* Page by page: what is behind the text need not be there. */
HELPER(probe_read_str)
{
    uint32_t room = (uint32_t)r2, done = 0;
    char *to = MEMORY(r1);
    int64_t copied;
    if (!room)
        return 0;
    if (wbpf_memory_read_text(to, r3, room, &copied)) {
        if (copied < 0)
            memset(to, 0, room);
        else if (copied == room)
            to[room - 1] = 0;
        return ANSWER(copied);
    }
    while (done < room) {
        uint32_t part = PAGE - (r3 + done) % PAGE;
        part = part < room - done ? part : room - done;
        if (wbpf_memory_read(to + done, r3 + done, part)) {
            memset(to, 0, room);
            return ANSWER(-EFAULT);
        }
        const char *end = memchr(to + done, 0, part);
        if (end)
            return (uint64_t)(end - to) + 1;
        done += part;
    }
    to[room - 1] = 0;
    return room;
}

static const struct {
    int32_t number;
    wbpf_helper function;
} table[] = {
    {-2, wbpf_user_nested_tail_call},
    {1, map_lookup_elem},
    {2, map_update_elem},
    {3, map_delete_elem},
    {4, probe_read},
    {12, wbpf_user_tail_call},
    {25, perf_event_output},
    {45, probe_read_str},
    {87, map_push_elem},
    {88, map_pop_elem},
    {89, map_peek_elem},
    {93, spin_lock},
    {94, spin_unlock},
    {112, probe_read},
    {113, probe_read},
    {114, probe_read_str},
    {115, probe_read_str},
    {148, probe_read},
    {130, ringbuf_output},
    {131, ringbuf_reserve},
    {132, ringbuf_submit},
    {133, ringbuf_discard},
    {134, ringbuf_query},
    {164, for_each_map_elem},
    {181, loop},
    {195, map_lookup_percpu_elem},
    {201, dynptr_read},
    {202, dynptr_write},
    {203, dynptr_data},
    {209, user_ringbuf_drain},
};

wbpf_helper wbpf_user_map_helper(int32_t number)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].number == number)
            return table[i].function;
    wbpf_helper function = wbpf_user_stack_helper(number);
    function = function ? function : wbpf_user_text_helper(number);
    return function ? function : wbpf_user_packet_helper(number);
}

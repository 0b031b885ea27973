/* The verbs: requests to the agent through the segment's trigger slots, which survive the death of either
 * side. */
#include "append.h"
#include <errno.h>

#define MASK_STATE 0xffu

static uint64_t state_of(unsigned state, const struct process *self)
{
    return (uint64_t)self->generation << 32 | (uint64_t)((self->slot + 1) & 0xffff) << 16 | state;
}

static int fire(const struct wbpf_trigger_slot *what, const uint8_t (*laterals)[16], size_t lateral_count)
{
    struct wbpf_segment_header *h = wbpf_map.header;
    const struct process *self = &wbpf_state->process;
    for (uint32_t tries = 0; tries < wbpf_map.fixed.trigger_count; tries++) {
        struct wbpf_trigger_slot *slot =
            &wbpf_map.triggers[add_relaxed(&h->trigger_hand, 1) % wbpf_map.fixed.trigger_count];
        uint64_t seen = load_relaxed(&slot->state);
        if ((seen & MASK_STATE) != WBPF_TRIGGER_STATE_FREE ||
            !__atomic_compare_exchange_n(&slot->state, &seen, state_of(WBPF_TRIGGER_STATE_CLAIMED, self),
                                         false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue;
        uint64_t ready = state_of(WBPF_TRIGGER_STATE_READY, self);
        memcpy((uint8_t *)slot + 8, (const uint8_t *)what + 8,
               offsetof(struct wbpf_trigger_slot, laterals) - 8);
        memcpy(slot->laterals, laterals, lateral_count * 16);
        slot->lateral_count = (uint16_t)lateral_count;
        store_release(&slot->state, ready);
        wbpf_ring(&h->trigger_bell);
        wbpf_ring(wbpf_doorbell);
        return 0;
    }
    add_relaxed(&h->triggers_dropped, 1);
    return -EAGAIN;
}

/* More laterals than a slot holds go into further slots of the same trace. */
static int fire_all(struct wbpf_trigger_slot *what, const uint8_t (*laterals)[16], size_t count)
{
    static const uint8_t none[1][16];
    laterals = laterals ? laterals : none;
    int error;
    do {
        size_t part = count < WBPF_TRIGGER_LATERALS ? count : WBPF_TRIGGER_LATERALS;
        error = fire(what, laterals, part);
        laterals += part;
        count -= part;
    } while (count && !error);
    return error;
}

static void record_trigger(struct writer *w, uint64_t ticks, wbpf_schema name, double value,
                           const uint8_t (*laterals)[16], size_t count)
{
    uint8_t payload[sizeof(struct wbpf_trigger_payload) + 16 * 64];
    size_t kept = count < 64 ? count : 64;
    struct wbpf_trigger_payload head = {.value = value, .lateral_count = (uint32_t)kept};
    memcpy(payload, &head, sizeof head);
    if (kept)
        memcpy(payload + sizeof head, laterals, kept * 16);
    append_wanted(w, ticks, WBPF_KIND_TRIGGER, LEVEL_STRUCTURE, name, payload, sizeof head + kept * 16);
}

int wbpf_trigger(wbpf_schema name, double value, const uint8_t (*laterals)[16], size_t lateral_count)
{
    struct writer *w = writer_here();
    if (!w)
        return -ENOENT;
    if (!writer_enter(w))
        return -EBUSY;
    wbpf_context current = w->current;
    if (!is_trace(&current)) {
        writer_leave(w);
        return -ENOENT;
    }
    lateral_count = laterals ? lateral_count : 0;
    struct wbpf_trigger_slot what = {.ticks = clock_ticks(),
                                     .trigger_id = name,
                                     .verb = WBPF_VERB_DUMP,
                                     .start_unix_ns = current.start_unix_ns,
                                     .value = value};
    id_split(current.trace_id, &what.trace_id_lo, &what.trace_id_hi);
    record_trigger(w, what.ticks, name, value, laterals, lateral_count);
    int error = fire_all(&what, laterals, lateral_count);
    writer_leave(w);
    return error;
}

int wbpf_trigger_trace(const uint8_t trace_id[16], uint64_t start_unix_ns, wbpf_schema name, double value,
                       const uint8_t (*laterals)[16], size_t lateral_count)
{
    struct writer *w = writer_here();
    if (!w)
        return -ENOENT;
    if (!writer_enter(w))
        return -EBUSY;
    struct wbpf_trigger_slot what = {.ticks = clock_ticks(),
                                     .trigger_id = name,
                                     .verb = WBPF_VERB_DUMP,
                                     .start_unix_ns = start_unix_ns,
                                     .value = value};
    id_split(trace_id, &what.trace_id_lo, &what.trace_id_hi);
    int error = fire_all(&what, laterals, laterals ? lateral_count : 0);
    writer_leave(w);
    return error;
}

int wbpf_reduce(unsigned level)
{
    struct writer *w = writer_here();
    if (!w)
        return -ENOENT;
    if (level < 1 || level > WBPF_LEVEL_OFF)
        return -EINVAL;
    if (!writer_enter(w))
        return -EBUSY;
    wbpf_context current = w->current;
    if (!is_trace(&current)) {
        writer_leave(w);
        return -ENOENT;
    }
    w->current.level = (uint8_t)level;
    writer_publish(w);
    struct wbpf_trigger_slot what = {.ticks = clock_ticks(),
                                     .verb = WBPF_VERB_REDUCE,
                                     .level = (uint8_t)level,
                                     .start_unix_ns = current.start_unix_ns};
    id_split(current.trace_id, &what.trace_id_lo, &what.trace_id_hi);
    int error = fire_all(&what, NULL, 0);
    writer_leave(w);
    return error;
}

/* Flag what this thread's chunk has of the trace; for the rest, tell the agent, if it keeps up. */
void wbpf_clear(void)
{
    struct writer *w = writer_here();
    if (!w || !writer_enter(w))
        return;
    uint64_t lo, hi;
    id_split(w->current.trace_id, &lo, &hi);
    if (lo | hi) {
        uint32_t slots = w->chunk ? word_slots(w->word) : 0;
        for (uint32_t i = 0; i < slots; i++) {
            struct wbpf_directory_slot *slot = directory_at(w->base, wbpf_map.fixed.chunk_bytes, i);
            if (slot->type != WBPF_SLOT_RUN_NEW)
                continue;
            uint64_t id[2];
            memcpy(&id[0], slot - 1, 8);
            memcpy(&id[1], slot - 2, 8);
            i += 2;
            if (id[0] != lo || id[1] != hi || slot->flags & WBPF_FLAG_CLEARED)
                continue;
            store_relaxed(&slot->flags, slot->flags | WBPF_FLAG_CLEARED);
            store_relaxed(&w->chunk->cleared_ids, w->chunk->cleared_ids + 1);
        }
        uint64_t position = add_relaxed(&wbpf_map.header->clear_next, 1);
        struct wbpf_clear_slot *entry = &wbpf_map.clears[position % wbpf_map.fixed.clear_count];
        store_relaxed(&entry->sequence, 0);
        atomic_thread_fence(memory_order_release);
        store_relaxed(&entry->trace_id_lo, lo);
        store_relaxed(&entry->trace_id_hi, hi);
        store_release(&entry->sequence, position + 1);
    }
    writer_leave(w);
}

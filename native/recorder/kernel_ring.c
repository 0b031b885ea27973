/*
 * Reading one kernel ring. Its memory is trusted in nothing: a record counts if its commit word fits its
 * place, its sizes are possible, and the ring has not come round to it while it was copied.
 */
#include "kernel_ring.h"
#include <errno.h>
#include <linux/perf_event.h>

#define SLOT         WBPF_KERNEL_SLOT_BYTES
#define HEADER       sizeof(struct wbpf_kernel_record_header)
#define LEAST_RING   4096u
#define MOST_RING    (1u << 30)
#define RESUME_LEVEL 24

/*
 * The kernel publishes a perf ring's head after the bytes are written. What may be in writing meanwhile is a
 * record for each context that interrupts another on a CPU (task, softirq, irq, NMI), each below 640 bytes.
 */
#define PERF_MARGIN 4096u

int kernel_ring_check(const struct kernel_ring *ring, uint64_t bytes_behind_header)
{
    uint64_t bytes = ring->ring_bytes;
    uint64_t behind = ring->variant == WBPF_KERNEL_RING_ARRAY ? bytes + WBPF_KERNEL_MAX_RECORD_BYTES : 0;
    if (bytes < LEAST_RING || bytes > MOST_RING || bytes & (bytes - 1) || behind > bytes_behind_header ||
        load_acquire(&ring->header->magic) != WBPF_KERNEL_MAGIC ||
        load_relaxed(&ring->header->ring_bytes) != bytes)
        return -EPROTO;
    return 0;
}

static bool sizes_are_possible(const struct wbpf_kernel_record_header *h)
{
    return h->bytes >= HEADER && h->bytes <= WBPF_KERNEL_MAX_RECORD_BYTES && h->slots >= 1 &&
           h->slots <= WBPF_KERNEL_MAX_RECORD_BYTES / SLOT && h->bytes <= h->slots * SLOT;
}

/* ---- rings in an array ---- */

static uint64_t array_tail(const struct kernel_ring *r)
{
    return load_acquire(&r->header->tail) & ~(uint64_t)(SLOT - 1);
}

static const struct wbpf_kernel_record_header *record_at(const struct kernel_ring *r, uint64_t position)
{
    return (const struct wbpf_kernel_record_header *)(r->data + (position & (r->ring_bytes - 1)));
}

static bool is_committed(const struct kernel_ring *r, uint64_t position)
{
    return load_acquire(&record_at(r, position)->commit) == (position ^ load_relaxed(&r->header->key));
}

static bool copy_record(const struct kernel_ring *r, uint64_t position, struct kernel_record *out)
{
    const struct wbpf_kernel_record_header *at = record_at(r, position);
    if (!is_committed(r, position))
        return false;
    out->start = position;
    memcpy(&out->header, at, HEADER);
    if (!sizes_are_possible(&out->header))
        return false;
    out->payload_bytes = out->header.bytes - (uint32_t)HEADER;
    memcpy(out->payload, at + 1, out->payload_bytes);
    atomic_thread_fence(memory_order_acquire);
    return load_relaxed(&r->header->tail) - position <= r->ring_bytes && is_committed(r, position);
}

static void remember_gap(struct kernel_cursor *c, uint64_t position)
{
    uint32_t last = c->gap_count - 1;
    if (c->gap_count && c->gaps[last].to == position) {
        c->gaps[last].to += SLOT;
        return;
    }
    if (c->gap_count == KERNEL_GAPS) { /* the oldest is the least likely to be filled */
        memmove(c->gaps, c->gaps + 1, (KERNEL_GAPS - 1) * sizeof *c->gaps);
        c->gap_count--;
    }
    c->gaps[c->gap_count].from = position;
    c->gaps[c->gap_count++].to = position + SLOT;
}

static int visit(const struct kernel_ring *r, uint64_t from, uint64_t to, bool fresh_place,
                 struct kernel_cursor *cursor, const struct kernel_visitor *v)
{
    struct kernel_record record;
    for (uint64_t p = from; p < to;) {
        const struct wbpf_kernel_record_header *at = record_at(r, p);
        uint32_t slots = load_relaxed(&at->slots);
        if (!is_committed(r, p)) {
            if (fresh_place)
                remember_gap(cursor, p);
            p += SLOT;
            continue;
        }
        bool wanted =
            v->wanted(v->self, load_relaxed(&at->trace_id_lo), load_relaxed(&at->trace_id_hi), fresh_place);
        if (wanted && copy_record(r, p, &record) && record.header.kind) {
            int error = v->take(v->self, &record);
            if (error)
                return error;
        }
        p += SLOT * (slots >= 1 && slots <= WBPF_KERNEL_MAX_RECORD_BYTES / SLOT ? slots : 1);
    }
    return 0;
}

static int walk_array(const struct kernel_ring *r, struct kernel_cursor *cursor, bool everything,
                      const struct kernel_visitor *v)
{
    uint64_t tail = array_tail(r), begin = tail > r->ring_bytes ? tail - r->ring_bytes : 0, at = begin;
    struct kernel_cursor before = *cursor;
    if (before.next > tail) /* not the ring that we knew */
        before = (struct kernel_cursor){0};
    *cursor = (struct kernel_cursor){.next = tail};
    int error = 0;
    for (uint32_t i = 0; i < before.gap_count && !error; i++) {
        uint64_t from = before.gaps[i].from > begin ? before.gaps[i].from : begin;
        if (everything && at < from && from <= before.gaps[i].to)
            error = visit(r, at, from, false, cursor, v);
        if (!error && from < before.gaps[i].to) {
            error = visit(r, from, before.gaps[i].to, true, cursor, v);
            at = before.gaps[i].to;
        }
    }
    if (everything && !error && at < before.next)
        error = visit(r, at, before.next, false, cursor, v);
    if (!error)
        error = visit(r, before.next > begin ? before.next : begin, tail, true, cursor, v);
    return error;
}

/* The first record at whose reservation no other was open: all before it were stamped before it. */
static uint64_t array_lost_until(const struct kernel_ring *r)
{
    struct kernel_record record;
    uint64_t tail = array_tail(r);
    if (tail <= r->ring_bytes)
        return 0;
    for (uint64_t p = tail - r->ring_bytes; p < tail;) {
        if (!copy_record(r, p, &record)) {
            p += SLOT;
            continue;
        }
        if (!(record.header.flags & WBPF_KERNEL_FLAG_NESTED))
            return record.header.mono_ns;
        p += SLOT * record.header.slots;
    }
    return clock_monotonic_ns();
}

/* ---- perf rings: the kernel writes them downwards, the newest record is at the head ---- */

struct perf_copy {
    const uint8_t *bytes; /* from the newest */
    uint64_t written;     /* bytes ever written, that is the position behind the newest */
    uint64_t used;        /* bytes of the copy that were not overwritten meanwhile */
    uint64_t at;
};

static struct perf_copy copy_perf(const struct kernel_ring *r, uint8_t *scratch)
{
    uint64_t head = load_acquire(r->perf_head), from = head & (r->ring_bytes - 1);
    memcpy(scratch, r->data + from, r->ring_bytes - from);
    memcpy(scratch + r->ring_bytes - from, r->data, from);
    atomic_thread_fence(memory_order_acquire);
    uint64_t since = head - load_relaxed(r->perf_head), written = 0 - head;
    struct perf_copy copy = {.bytes = scratch, .written = written};
    if (since < r->ring_bytes - PERF_MARGIN)
        copy.used = r->ring_bytes - PERF_MARGIN - since;
    copy.used = written < copy.used ? written : copy.used;
    return copy;
}

/* The next record, towards older ones. False at the end; out->header.bytes = 0: something else stood there.
 */
static bool next_perf(const struct kernel_ring *r, struct perf_copy *copy, struct kernel_record *out)
{
    struct perf_event_header event;
    uint32_t raw_bytes;
    const uint8_t *at = copy->bytes + copy->at;
    if (copy->used - copy->at < sizeof event)
        return false;
    memcpy(&event, at, sizeof event);
    if (event.size < sizeof event || event.size % 8 || event.size > copy->used - copy->at)
        return false;
    copy->at += event.size;
    out->header.bytes = 0;
    if (event.type != PERF_RECORD_SAMPLE || event.size < sizeof event + sizeof raw_bytes + HEADER)
        return true;
    memcpy(&raw_bytes, at + sizeof event, sizeof raw_bytes);
    memcpy(&out->header, at + sizeof event + sizeof raw_bytes, HEADER);
    if (raw_bytes > event.size - sizeof event - sizeof raw_bytes || out->header.bytes > raw_bytes ||
        !sizes_are_possible(&out->header) ||
        out->header.commit != (out->header.mono_ns ^ load_relaxed(&r->header->key))) {
        out->header.bytes = 0;
        return true;
    }
    out->start = copy->written - copy->at;
    out->payload_bytes = out->header.bytes - (uint32_t)HEADER;
    memcpy(out->payload, at + sizeof event + sizeof raw_bytes + HEADER, out->payload_bytes);
    return true;
}

static int walk_perf(const struct kernel_ring *r, struct kernel_cursor *cursor, bool everything,
                     uint8_t *scratch, const struct kernel_visitor *v)
{
    struct kernel_record record;
    if (!everything && cursor->next == kernel_ring_written(r))
        return 0;
    struct perf_copy copy = copy_perf(r, scratch);
    uint64_t before = cursor->next > copy.written ? 0 : cursor->next;
    cursor->next = copy.written;
    while (next_perf(r, &copy, &record)) {
        if (!everything && copy.written - copy.at < before)
            break;
        if (!record.header.bytes || !record.header.kind ||
            !v->wanted(v->self, record.header.trace_id_lo, record.header.trace_id_hi, record.start >= before))
            continue;
        int error = v->take(v->self, &record);
        if (error)
            return error;
    }
    return 0;
}

/* Records stand in the order of their ends: the oldest may have been open while lost ones were written. The
 * next one that was reserved with none open was stamped after all of them. */
static uint64_t perf_lost_until(const struct kernel_ring *r, uint8_t *scratch)
{
    struct kernel_record record;
    uint64_t last = 0, candidate = 0, refused = load_relaxed(&r->header->tail);
    if (kernel_ring_written(r) <= r->ring_bytes - PERF_MARGIN)
        return refused;
    struct perf_copy copy = copy_perf(r, scratch);
    while (next_perf(r, &copy, &record)) {
        if (!record.header.bytes)
            continue;
        candidate = last;
        if (!(record.header.flags & WBPF_KERNEL_FLAG_NESTED))
            last = record.header.mono_ns;
    }
    candidate = candidate ? candidate : clock_monotonic_ns();
    return refused > candidate ? refused : candidate;
}

/* ---- both ---- */

int kernel_ring_walk(const struct kernel_ring *ring, struct kernel_cursor *cursor, bool everything,
                     uint8_t *scratch, const struct kernel_visitor *visitor)
{
    return ring->variant == WBPF_KERNEL_RING_ARRAY ? walk_array(ring, cursor, everything, visitor)
                                                   : walk_perf(ring, cursor, everything, scratch, visitor);
}

uint64_t kernel_ring_lost_until(const struct kernel_ring *ring, uint8_t *scratch)
{
    return ring->variant == WBPF_KERNEL_RING_ARRAY ? array_lost_until(ring) : perf_lost_until(ring, scratch);
}

uint64_t kernel_ring_written(const struct kernel_ring *ring)
{
    return ring->variant == WBPF_KERNEL_RING_ARRAY ? array_tail(ring) : 0 - load_acquire(ring->perf_head);
}

static uint8_t *put_header(uint8_t *at, unsigned kind, unsigned level, uint32_t schema,
                           uint32_t payload_bytes, uint64_t ticks)
{
    struct wbpf_record_header header = {.bytes = (uint16_t)(sizeof header + sizeof ticks + payload_bytes),
                                        .kind = (uint8_t)(kind | WBPF_STAMPED),
                                        .level = (uint8_t)level,
                                        .schema_id = schema};
    memcpy(at, &header, sizeof header);
    memcpy(at + sizeof header, &ticks, sizeof ticks);
    return at + sizeof header + sizeof ticks;
}

uint32_t kernel_record_translate(const struct kernel_record *record, uint8_t out[KERNEL_TRANSLATED_BYTES])
{
    /* 24 bytes of RESUME and 16 of header are fewer than the 64 of a kernel record: pieces never overlap. */
    const struct wbpf_kernel_record_header *h = &record->header;
    uint8_t *at = out;
    if (h->span_id && (h->trace_id_lo | h->trace_id_hi)) {
        at = put_header(at, WBPF_KIND_RESUME, RESUME_LEVEL, 0, sizeof h->span_id, h->mono_ns);
        memcpy(at, &h->span_id, sizeof h->span_id);
        at += sizeof h->span_id;
    }
    at = put_header(at, h->kind & ~(unsigned)WBPF_STAMPED, h->level, h->schema_id, record->payload_bytes,
                    h->mono_ns);
    memcpy(at, record->payload, record->payload_bytes);
    at += record->payload_bytes;
    memset(at, 0, 7);
    return (uint32_t)(at - out + 7) & ~7u;
}

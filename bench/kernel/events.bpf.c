/*
 * Events of 64 bytes into a kernel ring, and the same facts and bytes into BPF's ring buffer. Each program
 * appends COUNT of them and returns how many nanoseconds that took. Their words follow from the number that
 * it is given.
 */
#include <wbpf/kernel.bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define COUNT     64
#define WORDS     8
#define NO_WAKEUP 1

char LICENSE[] SEC("license") = "GPL";

static void *(*const ringbuf_reserve)(void *map, uint64_t bytes, uint64_t flags) = (void *)131;
static void (*const ringbuf_submit)(void *data, uint64_t flags) = (void *)132;

struct words {
    uint64_t words[WORDS];
};
WBPF_SCHEMA(words, "bench w0:u64 w1:u64 w2:u64 w3:u64 w4:u64 w5:u64 w6:u64 w7:u64");

struct event { /* what a kernel record holds, without what its ring needs */
    uint64_t trace_id_lo, trace_id_hi, span_id, mono_ns, pid_tgid;
    uint32_t bytes, schema_id;
    uint8_t kind, level, reserved[6];
    struct words payload;
};

struct {
    int (*type)[27 /* BPF_MAP_TYPE_RINGBUF */];
    int (*max_entries)[1 << 20];
} ringbuf SEC(".maps");

WBPF_INLINE void fill(struct words *words, uint64_t number)
{
    for (int i = 0; i < WORDS; i++)
        WBPF_VOLATILE(words->words[i]) = number + i;
}

WBPF_INLINE void to_ring(void *ctx, struct wbpf_now *now, uint64_t number)
{
    struct wbpf_record record;
    struct words *payload = wbpf_reserve(&record, sizeof *payload);
    if (!payload)
        return;
    fill(payload, number);
    wbpf_commit(ctx, &record, now, WBPF_KIND_EVENT, WBPF_LEVEL_INFO, words());
}

WBPF_INLINE void to_ringbuf(struct wbpf_now *now, uint64_t number)
{
    struct event *event = ringbuf_reserve(&ringbuf, sizeof *event, 0);
    if (!event)
        return;
    event->mono_ns = wbpf_helper_ktime_ns();
    fill(&event->payload, number);
    event->trace_id_lo = now->trace_id_lo;
    event->trace_id_hi = now->trace_id_hi;
    event->span_id = now->span_id;
    event->pid_tgid = now->pid_tgid;
    event->bytes = sizeof *event;
    event->schema_id = words();
    event->kind = WBPF_KIND_EVENT;
    event->level = WBPF_LEVEL_INFO;
    ringbuf_submit(event, NO_WAKEUP);
}

#define MEASURED(name, once)                                                                                 \
    SEC("raw_tp/sys_enter") uint32_t name(uint64_t *ctx)                                                     \
    {                                                                                                        \
        uint64_t number = ctx[0], began = wbpf_helper_ktime_ns();                                            \
        struct wbpf_now now = {.pid_tgid = wbpf_helper_pid_tgid()};                                          \
        _Pragma("clang loop unroll(disable)") for (uint64_t i = 0; i < COUNT; i++, number += WORDS)          \
        {                                                                                                    \
            once;                                                                                            \
        }                                                                                                    \
        return wbpf_helper_ktime_ns() - began;                                                               \
    }

MEASURED(ring, to_ring(ctx, &now, number))
MEASURED(ring_in_trace, if (wbpf_now(&now) == WBPF_IN_TRACE) to_ring(ctx, &now, number))
MEASURED(ringbuf_event, to_ringbuf(&now, number))
MEASURED(ringbuf_in_trace, if (wbpf_now(&now) == WBPF_IN_TRACE) to_ringbuf(&now, number))
MEASURED(context, wbpf_now(&now))

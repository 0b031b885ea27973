/*
 * Programs that interrupt each other on a CPU. `outer` runs at a system call, and in the middle of its record makes
 * the tracepoint fire to which `inner` is attached, or stays for so long that the clock interrupts it. Payloads are
 * half written before that and half after.
 */
#include <wbpf/kernel.bpf.h>

#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

const volatile uint64_t call_number = 0; /* the system call that `outer` is for */
const volatile uint32_t prints = 0;      /* `outer` makes `inner` run */
const volatile uint32_t spins = 0;       /* how long `outer` stays */

#define MOST_SPINS 3000

static long (*const trace_printk)(const char *format, uint32_t bytes) = (void *)6;

struct words {
    uint64_t role;
    uint64_t end_ns;
    uint64_t words[6];
};
WBPF_SCHEMA(nested, "nested role:u64 end_ns:u64 w0:u64 w1:u64 w2:u64 w3:u64 w4:u64 w5:u64");

WBPF_INLINE struct words *begin(struct wbpf_record *record, uint64_t role)
{
    struct words *words = wbpf_reserve(record, sizeof *words);
    if (!words)
        return 0;
    words->role = role;
    for (int i = 0; i < 3; i++)
        words->words[i] = record->header->mono_ns ^ role << 56 ^ i;
    return words;
}

WBPF_INLINE int end(void *ctx, struct wbpf_record *record, struct words *words, struct wbpf_now *now)
{
    for (int i = 3; i < 6; i++)
        words->words[i] = record->header->mono_ns ^ words->role << 56 ^ i;
    words->end_ns = wbpf_helper_ktime_ns();
    wbpf_commit(ctx, record, now, WBPF_KIND_EVENT, WBPF_LEVEL_INFO, nested());
    return 0;
}

SEC("raw_tp/sys_enter") int outer(uint64_t *ctx)
{
    struct wbpf_now now;
    struct wbpf_record record;
    if (ctx[1] != call_number || wbpf_now(&now) != WBPF_IN_TRACE)
        return 0;
    struct words *words = begin(&record, 1);
    if (!words)
        return 0;
    if (prints) {
        char format[] = "wbpf test\n";
        trace_printk(format, sizeof format);
    }
    for (uint32_t i = 0; i < MOST_SPINS && i < spins; i++)
        wbpf_helper_ktime_ns();
    return end(ctx, &record, words, &now);
}

SEC("raw_tp/bpf_trace_printk") int inner(void *ctx)
{
    struct wbpf_now now;
    struct wbpf_record record;
    if (wbpf_now(&now) != WBPF_IN_TRACE)
        return 0;
    struct words *words = begin(&record, 2);
    return words ? end(ctx, &record, words, &now) : 0;
}

SEC("perf_event") int clock(void *ctx)
{
    struct wbpf_now now;
    struct wbpf_record record;
    if (wbpf_now(&now) != WBPF_IN_TRACE)
        return 0;
    struct words *words = begin(&record, 3);
    return words ? end(ctx, &record, words, &now) : 0;
}

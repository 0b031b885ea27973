/* Ticks: the cheapest counter that the kernel itself trusts, calibrated against the two kernel clocks. */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

uint32_t wbpf_clock_kind = WBPF_CLOCK_MONOTONIC;

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_unix_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t clock_read_slow(uint32_t kind)
{
#if defined(__x86_64__)
    if (kind == WBPF_CLOCK_TSC)
        return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    if (kind == WBPF_CLOCK_CNTVCT) {
        uint64_t ticks;
        __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(ticks));
        return ticks;
    }
#endif
    (void)kind;
    return clock_monotonic_ns();
}

#if defined(__x86_64__)
/* Invariant (CPUID 8000_0007h EDX[8]), or chosen by the kernel as its own clock source: hypervisors often
 * hide the bit. */
static bool tsc_is_usable(void)
{
    unsigned a, b, c, d;
    if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1u << 8)))
        return true;
    char source[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (!file)
        return false;
    if (!fgets(source, sizeof source, file))
        source[0] = 0;
    fclose(file);
    return strncmp(source, "tsc", 3) == 0;
}
#endif

uint32_t clock_best_kind(void)
{
#if defined(__x86_64__)
    return tsc_is_usable() ? WBPF_CLOCK_TSC : WBPF_CLOCK_MONOTONIC;
#elif defined(__aarch64__)
    return WBPF_CLOCK_CNTVCT;
#else
    return WBPF_CLOCK_MONOTONIC;
#endif
}

void clock_calibrate(uint32_t kind, struct wbpf_calibration *out)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t mono0 = read_clock(CLOCK_MONOTONIC);
        uint64_t ticks = clock_read_slow(kind);
        uint64_t unix_ns = read_clock(CLOCK_REALTIME);
        uint64_t mono1 = read_clock(CLOCK_MONOTONIC);
        if (mono1 - mono0 >= best)
            continue;
        best = mono1 - mono0;
        /* The counter was read about a third into the window, the wall clock about two thirds. */
        *out = (struct wbpf_calibration){.ticks = ticks,
                                         .mono_ns = mono0 + best / 3,
                                         .unix_ns = unix_ns - best / 3,
                                         .error_ns = best / 2 + 1};
    }
}

uint64_t clock_measure_hz(uint32_t kind)
{
    if (kind == WBPF_CLOCK_MONOTONIC)
        return 1000000000u;
#if defined(__aarch64__)
    uint64_t hz;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    if (hz) /* it is the firmware's to set */
        return hz;
#endif
    struct wbpf_calibration a, b;
    clock_calibrate(kind, &a);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    clock_calibrate(kind, &b);
    return (uint64_t)((double)(b.ticks - a.ticks) * 1e9 / (double)(b.mono_ns - a.mono_ns));
}

void clock_record_calibration(struct wbpf_segment_header *header, const struct wbpf_calibration *reading)
{
    struct wbpf_calibration *entry =
        &header->calibrations[add_relaxed(&header->calibration_next, 1) % WBPF_CALIBRATIONS];
    store_release(&entry->error_ns, 0);
    atomic_thread_fence(memory_order_release);
    store_relaxed(&entry->ticks, reading->ticks);
    store_relaxed(&entry->mono_ns, reading->mono_ns);
    store_relaxed(&entry->unix_ns, reading->unix_ns);
    store_release(&entry->error_ns, reading->error_ns);
}

static int by_ticks(const void *a, const void *b)
{
    uint64_t x = ((const struct wbpf_calibration *)a)->ticks, y = ((const struct wbpf_calibration *)b)->ticks;
    return (x > y) - (x < y);
}

uint32_t clock_calibrations(const struct wbpf_segment_header *header, struct wbpf_calibration *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < WBPF_CALIBRATIONS; i++) {
        const struct wbpf_calibration *entry = &header->calibrations[i];
        uint64_t error = load_acquire(&entry->error_ns);
        if (!error)
            continue;
        struct wbpf_calibration copy = {load_relaxed(&entry->ticks), load_relaxed(&entry->mono_ns),
                                        load_relaxed(&entry->unix_ns), error};
        atomic_thread_fence(memory_order_acquire);
        if (load_relaxed(&entry->error_ns) == error && copy.ticks)
            out[count++] = copy;
    }
    qsort(out, count, sizeof *out, by_ticks);
    return count;
}

/* Between two readings by interpolation; outside them by the slope of the widest pair, or the nominal
 * frequency. */
uint64_t clock_to_unix_ns(const struct wbpf_calibration *sorted, uint32_t count, uint64_t ticks_hz,
                          uint64_t ticks)
{
    if (!ticks || !count || !ticks_hz)
        return 0;
    double ns_per_tick = 1e9 / (double)ticks_hz;
    const struct wbpf_calibration *from = &sorted[0], *last = &sorted[count - 1];
    for (uint32_t i = 0; i + 1 < count && sorted[i + 1].ticks <= ticks; i++)
        from = &sorted[i + 1];
    const struct wbpf_calibration *a = from, *b = from + 1;
    if (ticks < sorted[0].ticks || from == last) {
        a = &sorted[0];
        b = last;
    }
    if (b <= last && b->ticks > a->ticks && b->unix_ns > a->unix_ns && b->mono_ns - a->mono_ns > 50000000u)
        ns_per_tick = (double)(b->unix_ns - a->unix_ns) / (double)(b->ticks - a->ticks);
    return from->unix_ns + (uint64_t)(int64_t)((double)(int64_t)(ticks - from->ticks) * ns_per_tick);
}

/*
 * Histograms with slots of powers of two, as events show them (`log2_histogram` in wbpf.toml).
 *
 *     __atomic_fetch_add(&slots[wbpf_log2_slot(us, SLOTS)], 1, __ATOMIC_RELAXED);
 */
#ifndef WBPF_HISTOGRAM_BPF_H
#define WBPF_HISTOGRAM_BPF_H

#include <wbpf/program.bpf.h>

/* The slot of a value: 0 for 0 and 1, n for 2^n to 2^(n+1) - 1, the last for all above. */
static __always_inline unsigned int wbpf_log2_slot(unsigned long long value, unsigned int slots)
{
    unsigned int slot = 0;
    for (int shift = 32; shift; shift >>= 1)
        if (value >> shift) {
            value >>= shift;
            slot += shift;
        }
    return slot < slots ? slot : slots - 1;
}

#endif

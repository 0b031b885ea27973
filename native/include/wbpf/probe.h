/*
 * Probe sites for C and C++: places in a program that eBPF programs can be attached to while it runs.
 *
 *     WBPF_PROBE(shop, order, number, price_cents);   // provider, name, 0 to 8 integers or pointers
 *
 * A site costs a load and a branch, and its arguments are not computed, until something is attached: an eBPF
 * program in this process (docs/probe-sites.md), or a tracer of USDT probes (bpftrace, perf, libbpf): each
 * site has a .note.stapsdt with a semaphore. Names are C identifiers. Sites of one name are attached
 * together. Programs are attached by libwbpf; without it, a site is a USDT probe only.
 */
#ifndef WBPF_PROBE_H
#define WBPF_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "wbpf/probe.bpf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One for each name in each executable or library, in its section wbpf_sites. The macro below lays it out. */
struct wbpf_site {
    uint64_t state; /* bits 0-15: a USDT semaphore, which tracers count up; bit 32: `fire` is to be called */
    void *attached;
    void (*fire)(struct wbpf_site *site, const struct wbpf_probe_context *context);
    const char *name; /* provider:name */
};

#define WBPF_SITE_ATTACHED ((uint64_t)1 << 32)

/* Let programs be attached to this process's sites from outside: by this user and by root, through a socket
 * in the host's folder below $WBPF_DIR. Done at start where probe.h is included. 0 or a negative errno; again
 * does nothing. Where WBPF_WEAK is defined, a program need not be linked with libwbpf: its sites are USDT
 * probes then, and more only where the library was preloaded. */
__attribute__((visibility("default")))
#if defined(WBPF_WEAK)
__attribute__((weak))
#endif
int wbpf_probes_listen(void);

#ifndef WBPF_PROBES_INTERNAL
__attribute__((constructor, unused)) static void wbpf_probes_start_(void)
{
#if defined(WBPF_WEAK)
    if (wbpf_probes_listen)
#endif
        (void)wbpf_probes_listen();
}
#endif

#ifdef __cplusplus
}
#endif

/* Where a module's sites are: an allocated note, found through its program headers. It has the distances from
 * its own words to the section's ends, so that nothing is to be relocated at start. By BFD_RELOC_NONE it
 * keeps a site, as linkers keep notes: lld drops a section that is known by its ends alone, and misses them
 * then. */
#define WBPF_SITES_NOTE_TYPE 1
#define WBPF_SITES_NOTE_(symbol)                                                                             \
    ".ifndef wbpf_sites_note\n"                                                                              \
    ".hidden __start_wbpf_sites\n"                                                                           \
    ".hidden __stop_wbpf_sites\n"                                                                            \
    ".pushsection .note.wbpf,\"a\",\"note\"\n"                                                               \
    ".balign 4\n"                                                                                            \
    "wbpf_sites_note: .4byte 5, 16, 1\n"                                                                     \
    ".asciz \"wbpf\"\n"                                                                                      \
    ".balign 4\n"                                                                                            \
    ".8byte __start_wbpf_sites - .\n"                                                                        \
    ".8byte __stop_wbpf_sites - .\n"                                                                         \
    ".reloc ., BFD_RELOC_NONE, " symbol "\n"                                                                 \
    ".popsection\n"                                                                                          \
    ".endif\n"

/* Emitted where it is first used; copies that the compiler makes of a site share it. */
#define WBPF_SITE_RECORD_(symbol, name)                                                                      \
    ".ifndef " symbol "\n"                                                                                   \
    ".pushsection wbpf_sites,\"aw\",\"progbits\"\n"                                                          \
    ".balign 8\n"                                                                                            \
    ".weak " symbol "\n"                                                                                     \
    ".hidden " symbol "\n" symbol ": .8byte 0, 0, 0, 992f\n"                                                 \
    ".popsection\n"                                                                                          \
    ".pushsection .rodata\n"                                                                                 \
    "992: .asciz \"" name "\"\n"                                                                             \
    ".popsection\n"                                                                                          \
    ".endif\n"

/* The note of USDT probes: address, base, semaphore, names, where the arguments are. */
#define WBPF_SITE_USDT_(symbol, provider, name, arguments)                                                   \
    ".ifndef _.stapsdt.base\n"                                                                               \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                                  \
    ".weak _.stapsdt.base\n"                                                                                 \
    ".hidden _.stapsdt.base\n"                                                                               \
    "_.stapsdt.base: .space 1\n"                                                                             \
    ".size _.stapsdt.base, 1\n"                                                                              \
    ".popsection\n"                                                                                          \
    ".endif\n"                                                                                               \
    "990: nop\n"                                                                                             \
    ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                                            \
    ".balign 4\n"                                                                                            \
    ".4byte 8, 994f - 993f, 3\n"                                                                             \
    ".asciz \"stapsdt\"\n"                                                                                   \
    "993: .8byte 990b, _.stapsdt.base, " symbol "\n"                                                         \
    ".asciz \"" provider "\"\n"                                                                              \
    ".asciz \"" name "\"\n"                                                                                  \
    ".asciz \"" arguments "\"\n"                                                                             \
    "994: .balign 4\n"                                                                                       \
    ".popsection\n"

#define WBPF_SITE_(provider, name, count, arguments, operands, ...)                                          \
    do {                                                                                                     \
        extern struct wbpf_site wbpf_site_##provider##__##name __asm__("wbpf_site_" #provider "__" #name)    \
            __attribute__((visibility("hidden")));                                                           \
        struct wbpf_site *wbpf_site_ = &wbpf_site_##provider##__##name;                                      \
        if (__builtin_expect(__atomic_load_n(&wbpf_site_->state, __ATOMIC_RELAXED) != 0, 0)) {               \
            const struct wbpf_probe_context wbpf_context_ = {{__VA_ARGS__}, count};                          \
            const unsigned long long *wbpf_args_ = wbpf_context_.args;                                       \
            (void)wbpf_args_;                                                                                \
            __asm__ volatile(                                                                                \
                WBPF_SITES_NOTE_("wbpf_site_" #provider "__" #name)                                          \
                    WBPF_SITE_RECORD_("wbpf_site_" #provider "__" #name, #provider ":" #name)                \
                        WBPF_SITE_USDT_("wbpf_site_" #provider "__" #name, #provider, #name, arguments)      \
                :                                                                                            \
                : operands "m"(wbpf_context_));                                                              \
            void (*wbpf_fire_)(struct wbpf_site *, const struct wbpf_probe_context *) =                      \
                __atomic_load_n(&wbpf_site_->fire, __ATOMIC_ACQUIRE);                                        \
            if (wbpf_fire_)                                                                                  \
                wbpf_fire_(wbpf_site_, &wbpf_context_);                                                      \
        }                                                                                                    \
    } while (0)

#define WBPF_U64_(value)            ((unsigned long long)(uintptr_t)(value))
#define WBPF_IN_(n)                 "nr"(wbpf_args_[n]),
#define WBPF_P0_(provider, name)    WBPF_SITE_(provider, name, 0, "", , 0)
#define WBPF_P1_(provider, name, a) WBPF_SITE_(provider, name, 1, "8@%0", WBPF_IN_(0), WBPF_U64_(a))
#define WBPF_P2_(provider, name, a, b)                                                                       \
    WBPF_SITE_(provider, name, 2, "8@%0 8@%1", WBPF_IN_(0) WBPF_IN_(1), WBPF_U64_(a), WBPF_U64_(b))
#define WBPF_P3_(provider, name, a, b, c)                                                                    \
    WBPF_SITE_(provider, name, 3, "8@%0 8@%1 8@%2", WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2), WBPF_U64_(a),       \
               WBPF_U64_(b), WBPF_U64_(c))
#define WBPF_P4_(provider, name, a, b, c, d)                                                                 \
    WBPF_SITE_(provider, name, 4, "8@%0 8@%1 8@%2 8@%3", WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2) WBPF_IN_(3),    \
               WBPF_U64_(a), WBPF_U64_(b), WBPF_U64_(c), WBPF_U64_(d))
#define WBPF_P5_(provider, name, a, b, c, d, e)                                                              \
    WBPF_SITE_(provider, name, 5, "8@%0 8@%1 8@%2 8@%3 8@%4",                                                \
               WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2) WBPF_IN_(3) WBPF_IN_(4), WBPF_U64_(a), WBPF_U64_(b),      \
               WBPF_U64_(c), WBPF_U64_(d), WBPF_U64_(e))
#define WBPF_P6_(provider, name, a, b, c, d, e, f)                                                           \
    WBPF_SITE_(provider, name, 6, "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5",                                           \
               WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2) WBPF_IN_(3) WBPF_IN_(4) WBPF_IN_(5), WBPF_U64_(a),        \
               WBPF_U64_(b), WBPF_U64_(c), WBPF_U64_(d), WBPF_U64_(e), WBPF_U64_(f))
#define WBPF_P7_(provider, name, a, b, c, d, e, f, g)                                                        \
    WBPF_SITE_(provider, name, 7, "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5 8@%6",                                      \
               WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2) WBPF_IN_(3) WBPF_IN_(4) WBPF_IN_(5) WBPF_IN_(6),          \
               WBPF_U64_(a), WBPF_U64_(b), WBPF_U64_(c), WBPF_U64_(d), WBPF_U64_(e), WBPF_U64_(f),           \
               WBPF_U64_(g))
#define WBPF_P8_(provider, name, a, b, c, d, e, f, g, h)                                                     \
    WBPF_SITE_(provider, name, 8, "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5 8@%6 8@%7",                                 \
               WBPF_IN_(0) WBPF_IN_(1) WBPF_IN_(2) WBPF_IN_(3) WBPF_IN_(4) WBPF_IN_(5) WBPF_IN_(6)           \
                   WBPF_IN_(7),                                                                              \
               WBPF_U64_(a), WBPF_U64_(b), WBPF_U64_(c), WBPF_U64_(d), WBPF_U64_(e), WBPF_U64_(f),           \
               WBPF_U64_(g), WBPF_U64_(h))

#define WBPF_PICK_(provider, name, a, b, c, d, e, f, g, h, picked, ...) picked
#define WBPF_PROBE(...)                                                                                      \
    WBPF_PICK_(__VA_ARGS__, WBPF_P8_, WBPF_P7_, WBPF_P6_, WBPF_P5_, WBPF_P4_, WBPF_P3_, WBPF_P2_, WBPF_P1_,  \
               WBPF_P0_, 0)                                                                                  \
    (__VA_ARGS__)

#endif

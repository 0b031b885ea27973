/*
 * What eBPF programs in C are written with: sections, maps, the kernel's helpers, reads that are relocated to the
 * running kernel (CO-RE), and arguments of tracing programs. Include vmlinux.h or <wbpf/vmlinux.h> first.
 * The names are those that libbpf's headers gave to the field; sources written for those headers build as well,
 * with these in their place.
 */
#ifndef WBPF_PROGRAM_BPF_H
#define WBPF_PROGRAM_BPF_H

#include <wbpf/helper_defs.bpf.h> /* made by wbpf build from the kernel's linux/bpf.h */

/* ---- sections and maps ---- */

#define SEC(name) __attribute__((section(name), used))

#define __uint(name, value)  int (*name)[value]
#define __type(name, type)   __typeof__(type) *name
#define __array(name, type)  __typeof__(type) *name[]
#define __ulong(name, value) enum { name##_value = value } name

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#undef __noinline
#define __noinline __attribute__((noinline))
#undef __weak
#define __weak __attribute__((weak))
#undef __hidden
#define __hidden  __attribute__((visibility("hidden")))
#define __ksym    __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define __kptr    __attribute__((btf_type_tag("kptr")))

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

/*
 * `struct name` is what records or values of this program hold: it gets into the skeleton, and wbpf.toml can say
 * how it is shown, even if no map is declared with it.
 */
#define WBPF_EVENT(name) const struct name *wbpf_event_##name SEC(".wbpf.events") = (void *)0

/* The compiler must not assume what a variable holds: for bounds that the verifier has to see. */
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

/* A line in /sys/kernel/tracing/trace_pipe, with up to three arguments. */
#define bpf_printk(format, ...)                                                  \
    ({                                                                           \
        static const char wbpf_format_[] = format;                               \
        bpf_trace_printk(wbpf_format_, sizeof wbpf_format_, ##__VA_ARGS__);      \
    })

/* ---- byte order: eBPF objects are little-endian, as are the hosts ---- */

#define bpf_ntohs(value)    __builtin_bswap16(value)
#define bpf_htons(value)    __builtin_bswap16(value)
#define bpf_ntohl(value)    __builtin_bswap32(value)
#define bpf_htonl(value)    __builtin_bswap32(value)
#define bpf_be64_to_cpu(value) __builtin_bswap64(value)
#define bpf_cpu_to_be64(value) __builtin_bswap64(value)

/* ---- CO-RE: what the running kernel has, found when the program is loaded ---- */

#define bpf_core_field_exists(type, field) \
    __builtin_preserve_field_info(((__typeof__(type) *)0)->field, 2 /* BPF_FIELD_EXISTS */)
#define bpf_core_field_size(type, field) \
    __builtin_preserve_field_info(((__typeof__(type) *)0)->field, 1 /* BPF_FIELD_BYTE_SIZE */)
#define bpf_core_field_offset(type, field) \
    __builtin_preserve_field_info(((__typeof__(type) *)0)->field, 0 /* BPF_FIELD_BYTE_OFFSET */)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 0 /* existence */)
#define bpf_core_type_size(type)   __builtin_preserve_type_info(*(__typeof__(type) *)0, 1 /* size */)
#define bpf_core_enum_value_exists(type, value) \
    __builtin_preserve_enum_value(*(__typeof__(type) *)value, 0 /* existence */)
#define bpf_core_enum_value(type, value) \
    __builtin_preserve_enum_value(*(__typeof__(type) *)value, 1 /* value */)

#define bpf_core_read(to, bytes, from) \
    bpf_probe_read_kernel(to, bytes, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_read_str(to, bytes, from) \
    bpf_probe_read_kernel_str(to, bytes, (const void *)__builtin_preserve_access_index(from))

/*
 * BPF_CORE_READ(task, real_parent, tgid) is task->real_parent->tgid, each step read safely: 0 where it can't be.
 * BPF_CORE_READ_INTO(&to, …) reads the last step into `to`, BPF_CORE_READ_STR_INTO(&to, …) as text.
 */
#define BPF_CORE_READ(from, ...)      WBPF_STEPS_(WBPF_KERNEL_STEP_, from, __VA_ARGS__)
#define BPF_CORE_READ_USER(from, ...) WBPF_STEPS_(WBPF_USER_STEP_, from, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, from, ...) \
    WBPF_INTO_(bpf_probe_read_kernel, to, from, __VA_ARGS__)
#define BPF_CORE_READ_STR_INTO(to, from, ...) \
    WBPF_INTO_(bpf_probe_read_kernel_str, to, from, __VA_ARGS__)

#define WBPF_STEP_(read, from, field)                                                              \
    ({                                                                                             \
        __auto_type wbpf_from_ = (from);                                                           \
        __typeof_unqual__(wbpf_from_->field) wbpf_value_ = {};                                     \
        read(&wbpf_value_, sizeof wbpf_value_,                                                     \
             (const void *)__builtin_preserve_access_index(&wbpf_from_->field));                   \
        wbpf_value_;                                                                               \
    })
#define WBPF_KERNEL_STEP_(from, field) WBPF_STEP_(bpf_probe_read_kernel, from, field)
#define WBPF_USER_STEP_(from, field)   WBPF_STEP_(bpf_probe_read_user, from, field)

#define WBPF_LAST_(read, to, from, field)                                                          \
    ({                                                                                             \
        __auto_type wbpf_last_ = (from);                                                           \
        read((void *)(to), sizeof(*(to)),                                                          \
             (const void *)__builtin_preserve_access_index(&wbpf_last_->field));                   \
    })

#define WBPF_PICK_(_1, _2, _3, _4, _5, _6, _7, _8, picked, ...) picked
#define WBPF_STEPS_(step, ...)                                                                     \
    WBPF_PICK_(__VA_ARGS__, WBPF_S7_, WBPF_S6_, WBPF_S5_, WBPF_S4_, WBPF_S3_, WBPF_S2_, WBPF_S1_)  \
    (step, __VA_ARGS__)
#define WBPF_S1_(step, p, a)                   step(p, a)
#define WBPF_S2_(step, p, a, b)                step(step(p, a), b)
#define WBPF_S3_(step, p, a, b, c)             step(WBPF_S2_(step, p, a, b), c)
#define WBPF_S4_(step, p, a, b, c, d)          step(WBPF_S3_(step, p, a, b, c), d)
#define WBPF_S5_(step, p, a, b, c, d, e)       step(WBPF_S4_(step, p, a, b, c, d), e)
#define WBPF_S6_(step, p, a, b, c, d, e, f)    step(WBPF_S5_(step, p, a, b, c, d, e), f)
#define WBPF_S7_(step, p, a, b, c, d, e, f, g) step(WBPF_S6_(step, p, a, b, c, d, e, f), g)

#define WBPF_INTO_(read, to, ...)                                                                  \
    WBPF_PICK_(__VA_ARGS__, WBPF_I7_, WBPF_I6_, WBPF_I5_, WBPF_I4_, WBPF_I3_, WBPF_I2_, WBPF_I1_)  \
    (read, to, __VA_ARGS__)
#define WBPF_K_                                WBPF_KERNEL_STEP_
#define WBPF_I1_(read, to, p, a)                   WBPF_LAST_(read, to, p, a)
#define WBPF_I2_(read, to, p, a, b)                WBPF_LAST_(read, to, WBPF_S1_(WBPF_K_, p, a), b)
#define WBPF_I3_(read, to, p, a, b, c)             WBPF_LAST_(read, to, WBPF_S2_(WBPF_K_, p, a, b), c)
#define WBPF_I4_(read, to, p, a, b, c, d)          WBPF_LAST_(read, to, WBPF_S3_(WBPF_K_, p, a, b, c), d)
#define WBPF_I5_(read, to, p, a, b, c, d, e)       WBPF_LAST_(read, to, WBPF_S4_(WBPF_K_, p, a, b, c, d), e)
#define WBPF_I6_(read, to, p, a, b, c, d, e, f)    WBPF_LAST_(read, to, WBPF_S5_(WBPF_K_, p, a, b, c, d, e), f)
#define WBPF_I7_(read, to, p, a, b, c, d, e, f, g) WBPF_LAST_(read, to, WBPF_S6_(WBPF_K_, p, a, b, c, d, e, f), g)

/* ---- arguments of tp_btf, fentry, fexit, lsm and struct_ops programs ---- */

/*
 *     SEC("tp_btf/sched_switch")
 *     int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
 */
#define BPF_PROG(name, ...)                                                                        \
    name(unsigned long long *ctx);                                                                 \
    static __always_inline __typeof__(name(0)) wbpf_##name(unsigned long long *ctx, ##__VA_ARGS__);\
    __typeof__(name(0)) name(unsigned long long *ctx)                                              \
    {                                                                                              \
        _Pragma("clang diagnostic push")                                                           \
        _Pragma("clang diagnostic ignored \"-Wint-conversion\"")                                   \
        return wbpf_##name(WBPF_CTX_(WBPF_COUNT_(__VA_ARGS__)));                                   \
        _Pragma("clang diagnostic pop")                                                            \
    }                                                                                              \
    static __always_inline __typeof__(name(0)) wbpf_##name(unsigned long long *ctx, ##__VA_ARGS__)

#define WBPF_COUNT_(...) WBPF_COUNTED_(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define WBPF_COUNTED_(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, count, ...) count
#define WBPF_CTX_(count)  WBPF_CTX__(count)
#define WBPF_CTX__(count) WBPF_CTX_##count
#define WBPF_CTX_0        ctx
#define WBPF_CTX_1        WBPF_CTX_0, (void *)ctx[0]
#define WBPF_CTX_2        WBPF_CTX_1, (void *)ctx[1]
#define WBPF_CTX_3        WBPF_CTX_2, (void *)ctx[2]
#define WBPF_CTX_4        WBPF_CTX_3, (void *)ctx[3]
#define WBPF_CTX_5        WBPF_CTX_4, (void *)ctx[4]
#define WBPF_CTX_6        WBPF_CTX_5, (void *)ctx[5]
#define WBPF_CTX_7        WBPF_CTX_6, (void *)ctx[6]
#define WBPF_CTX_8        WBPF_CTX_7, (void *)ctx[7]
#define WBPF_CTX_9        WBPF_CTX_8, (void *)ctx[8]
#define WBPF_CTX_10       WBPF_CTX_9, (void *)ctx[9]
#define WBPF_CTX_11       WBPF_CTX_10, (void *)ctx[10]
#define WBPF_CTX_12       WBPF_CTX_11, (void *)ctx[11]

#endif

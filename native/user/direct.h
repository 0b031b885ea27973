/* System calls of our own, which no program sees. A negative errno where they fail. */
#ifndef WBPF_USER_DIRECT_H
#define WBPF_USER_DIRECT_H

#include <stdint.h>

#if defined(__x86_64__)
#define WBPF_HAVE_SYSCALLS
long wbpf_direct(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#else
#include <errno.h>
#include <unistd.h>
static inline long wbpf_direct(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                               uint64_t f)
{
    int before = errno;
    long result = syscall(number, a, b, c, d, e, f);
    if (result == -1)
        result = -errno;
    errno = before;
    return result;
}
#endif

#define WBPF_DIRECT_PICK_(_0, _1, _2, _3, _4, _5, _6, picked, ...) picked
#define WBPF_DIRECT(...)                                                                                     \
    WBPF_DIRECT_PICK_(__VA_ARGS__, WBPF_DIRECT6_, WBPF_DIRECT5_, WBPF_DIRECT4_, WBPF_DIRECT3_,               \
                      WBPF_DIRECT2_, WBPF_DIRECT1_, WBPF_DIRECT0_, 0)                                        \
    (__VA_ARGS__)
#define WBPF_WORD_(value)                    ((uint64_t)(uintptr_t)(value))
#define WBPF_DIRECT0_(number)                wbpf_direct(number, 0, 0, 0, 0, 0, 0)
#define WBPF_DIRECT1_(number, a)             wbpf_direct(number, WBPF_WORD_(a), 0, 0, 0, 0, 0)
#define WBPF_DIRECT2_(number, a, b)          wbpf_direct(number, WBPF_WORD_(a), WBPF_WORD_(b), 0, 0, 0, 0)
#define WBPF_DIRECT3_(number, a, b, c)       WBPF_DIRECT6_(number, a, b, c, 0, 0, 0)
#define WBPF_DIRECT4_(number, a, b, c, d)    WBPF_DIRECT6_(number, a, b, c, d, 0, 0)
#define WBPF_DIRECT5_(number, a, b, c, d, e) WBPF_DIRECT6_(number, a, b, c, d, e, 0)
#define WBPF_DIRECT6_(number, a, b, c, d, e, f)                                                              \
    wbpf_direct(number, WBPF_WORD_(a), WBPF_WORD_(b), WBPF_WORD_(c), WBPF_WORD_(d), WBPF_WORD_(e),           \
                WBPF_WORD_(f))

#endif

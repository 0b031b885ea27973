/* A known chain of calls, main > outer > middle > inner, once for each byte of standard input. */
#include <stdio.h>
#include <unistd.h>
#include <wbpf/probe.h>

/* So that it is no tail call. */
#define KEPT(result) __asm__ volatile("" : "+r"(result))

/* A system call in the function itself. */
static long own_getpgid(void)
{
    long result = 0;
#if defined(__x86_64__)
    result = 121;
    __asm__ volatile("syscall" : "+a"(result) : "D"(0L) : "rcx", "r11", "memory");
#endif
    return result;
}

__attribute__((noinline)) long inner(long number)
{
    WBPF_PROBE(chain, here, number);
    long result = own_getpgid() + number;
    KEPT(result);
    return result;
}

__attribute__((noinline)) long middle(long number)
{
    long result = inner(number + 1);
    KEPT(result);
    return result;
}

__attribute__((noinline)) long outer(long number)
{
    long result = middle(number + 1);
    KEPT(result);
    return result;
}

int main(void)
{
    for (char c; read(0, &c, 1) == 1;) {
        printf("%d\n", outer(c) > 0);
        fflush(stdout);
    }
}

/* Calls functions as often as it is told to on standard input: "add N", "sum N". */
#include <stdio.h>

__attribute__((noinline)) long add(long a, long b, long c)
{
    __asm__ volatile("");
    return a + b + c;
}

/* Calls itself n times. */
__attribute__((noinline)) long sum(long n)
{
    volatile long rest = n ? sum(n - 1) : 0;
    return n + rest;
}

int main(void)
{
    char what[8];
    long count;
    while (scanf("%7s %ld", what, &count) == 2) {
        if (what[0] == 's')
            sum(count);
        else
            for (long i = 0; i < count; i++)
                add(i, 2 * i, -1);
        puts("done");
        fflush(stdout);
    }
}

/* A probe site in a loop. For each "N" on standard input: nanoseconds a turn, with the site and without it.
 */
#include <stdio.h>
#include <time.h>
#include <wbpf/probe.h>

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(void)
{
    long count;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%ld", &count) == 1) {
        double begin = now_ns();
        for (long i = 0; i < count; i++) {
            __asm__ volatile("" ::: "memory");
            WBPF_PROBE(bench, site, i);
        }
        double middle = now_ns();
        for (long i = 0; i < count; i++)
            __asm__ volatile("" ::: "memory");
        double end = now_ns();
        printf("%.4f %.4f\n", (middle - begin) / (double)count, (end - middle) / (double)count);
    }
    return 0;
}

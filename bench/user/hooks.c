/* A function in a loop, which knows nothing of tracing. For each "N" on standard input: nanoseconds a call.
 */
#include <stdio.h>
#include <time.h>

__attribute__((noinline)) long bench_function(long number)
{
    __asm__ volatile("" : "+r"(number));
    return number * 3 + 1;
}

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
    puts("ready");
    while (scanf("%ld", &count) == 1) {
        double begin = now_ns();
        for (long i = 0; i < count; i++)
            bench_function(i);
        printf("%.4f\n", (now_ns() - begin) / (double)count);
    }
    return 0;
}

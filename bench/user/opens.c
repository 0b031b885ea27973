/* A program that does little but open files. For each "N" on standard input: nanoseconds a call. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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
            close(open("/dev/null", O_RDONLY));
        printf("%.4f\n", (now_ns() - begin) / (double)count);
    }
    return 0;
}

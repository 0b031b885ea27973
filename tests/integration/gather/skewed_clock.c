/*
 * Another wall clock for one process, by LD_PRELOAD: SKEWED_CLOCK="OFFSET_NS PPM ORIGIN_NS" moves
 * CLOCK_REALTIME by the offset, and by so many millionths of what the monotonic clock has gone on since the
 * origin. All processes with the same variable see the same clock, as those of one host do; the monotonic
 * clock stays everybody's.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static long long offset_ns, origin_ns;
static double ppm;

__attribute__((constructor)) static void read_skew(void)
{
    const char *text = getenv("SKEWED_CLOCK");
    if (!text || sscanf(text, "%lld %lf %lld", &offset_ns, &ppm, &origin_ns) != 3) {
        fprintf(stderr, "SKEWED_CLOCK must be OFFSET_NS PPM ORIGIN_NS\n");
        _exit(2);
    }
}

static long long read_ns(clockid_t id)
{
    struct timespec t = {0};
    syscall(SYS_clock_gettime, id, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, id, out);
    long long ns = read_ns(CLOCK_REALTIME) + offset_ns;
    ns += (long long)((double)(read_ns(CLOCK_MONOTONIC) - origin_ns) * ppm / 1e6);
    *out = (struct timespec){ns / SECOND, ns % SECOND};
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *out = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

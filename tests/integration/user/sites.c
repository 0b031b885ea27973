/* Probe sites under threads. Commands on standard input: "run N": each of four threads meets the site N
 * times; "spin"/"rest": they meet it all the time; "fork": a child meets it ten times. Each is answered by a
 * line. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <wbpf/probe.h>

#define THREADS 4

static atomic_bool spinning;

static void meet(long number)
{
    WBPF_PROBE(shop, order, number, "text");
}

static void *run(void *count)
{
    for (long i = 0; i < *(long *)count; i++)
        meet(i);
    return NULL;
}

static void *spin(void *unused)
{
    for (long i = 0; spinning; i++)
        meet(i);
    return unused;
}

static void in_threads(void *(*what)(void *), void *argument, pthread_t threads[THREADS])
{
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, what, argument);
}

static void join(pthread_t threads[THREADS])
{
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static double measured_ns(void)
{
    struct timespec from, to;
    long count = 2000000;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < count; i++) {
        __asm__ volatile("" ::: "memory");
        meet(i);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / (double)count;
}

static void in_child(void)
{
    if (fork() == 0) {
        for (long i = 0; i < 10; i++)
            meet(i);
        _exit(0);
    }
    wait(NULL);
}

int main(void)
{
    pthread_t threads[THREADS];
    char line[80];
    long count;

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "run %ld", &count) == 1) {
            in_threads(run, &count, threads);
            join(threads);
        } else if (strcmp(line, "spin\n") == 0) {
            spinning = true;
            in_threads(spin, NULL, threads);
        } else if (strcmp(line, "rest\n") == 0) {
            spinning = false;
            join(threads);
        } else if (strcmp(line, "fork\n") == 0) {
            in_child();
        } else if (strcmp(line, "measure\n") == 0) {
            printf("%.3f ", measured_ns());
        } else if (strcmp(line, "all\n") == 0) {
            WBPF_PROBE(shop, none);
            WBPF_PROBE(shop, all, (char)-1, (short)-2, -3, 4u, 5L, &threads, true, (uint8_t)255);
        }
        puts("done");
    }
    return 0;
}

#include "slices.h"
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define RETRIES 20

static struct worker workers[MOST_THREADS];
static pthread_barrier_t begun, ended;
static const struct operation *current;
static uint32_t arrived;
static cpu_set_t allowed;

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (!*text || *end)
        die("'%s' is no number", text);
    return value;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

void slice_start(struct worker *worker)
{
    worker->switches = switches();
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < worker->threads)
        ;
    worker->start_ns = now_ns();
}

void slice_stop(struct worker *worker)
{
    worker->stop_ns = now_ns();
    worker->switches = switches() - worker->switches;
}

static void pin(unsigned index)
{
    cpu_set_t one;
    unsigned seen = 0;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == index) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (sched_setaffinity(0, sizeof one, &one) == 0)
                return;
        }
    die("two cores are needed, and may not be used");
}

static void *second_thread(void *argument)
{
    struct worker *worker = argument;
    pin(worker->index);
    for (;;) {
        pthread_barrier_wait(&begun);
        if (!current)
            return NULL;
        current->run(worker, current->count);
        pthread_barrier_wait(&ended);
    }
}

/* Returns nanoseconds a repetition; *clean: the threads kept their cores. */
static double slice(const struct operation *operation, int *clean)
{
    double sum = 0;
    *clean = 1;
    current = operation;
    arrived = 0;
    for (unsigned i = 0; i < MOST_THREADS; i++)
        workers[i].threads = operation->threads;
    if (operation->threads > 1)
        pthread_barrier_wait(&begun);
    operation->run(&workers[0], operation->count);
    if (operation->threads > 1)
        pthread_barrier_wait(&ended);
    for (unsigned i = 0; i < operation->threads; i++) {
        sum += (double)(workers[i].stop_ns - workers[i].start_ns) / (double)operation->count;
        *clean &= workers[i].switches == 0;
    }
    return sum / operation->threads;
}

static void find_count(struct operation *operation, uint64_t slice_ns)
{
    int clean;
    for (operation->count = 1000;; operation->count *= 2) {
        double ns = slice(operation, &clean);
        if (ns * (double)operation->count * 2 > (double)slice_ns) {
            operation->count = (uint64_t)((double)slice_ns / ns) + 1;
            return;
        }
    }
}

static void print(const struct operation *operation, const double *samples, unsigned rounds,
                  unsigned disturbed)
{
    printf("{\"name\": \"%s\", \"threads\": %u, \"count\": %" PRIu64 ", \"disturbed\": %u, \"samples\": [",
           operation->name, operation->threads, operation->count, disturbed);
    for (unsigned i = 0; i < rounds; i++)
        printf("%s%.4f", i ? ", " : "", samples[i]);
    printf("]}\n");
}

static void shuffle(size_t *order, size_t count, uint64_t seed)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = mix(seed + i) % i, kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

void slices_run(struct operation *operations, size_t count, const struct plan *plan)
{
    pthread_t second;
    double *samples = calloc(count * plan->rounds, sizeof *samples);
    unsigned *disturbed = calloc(count, sizeof *disturbed);
    size_t *order = calloc(count, sizeof *order);
    pthread_barrier_init(&begun, NULL, 2);
    pthread_barrier_init(&ended, NULL, 2);
    for (unsigned i = 0; i < MOST_THREADS; i++)
        workers[i].index = i;
    sched_getaffinity(0, sizeof allowed, &allowed);
    pin(0);
    if (!samples || !disturbed || !order || pthread_create(&second, NULL, second_thread, &workers[1]) != 0)
        die("no memory, or no second thread");
    for (size_t i = 0; i < count; i++) {
        order[i] = i;
        if (!operations[i].count)
            find_count(&operations[i], plan->slice_ns);
    }
    for (unsigned round = 0; round < plan->rounds; round++) {
        shuffle(order, count, plan->seed * 1000003 + round);
        for (size_t i = 0; i < count; i++) {
            int clean = 0;
            for (int tries = 0; tries < RETRIES && !clean; tries++)
                samples[order[i] * plan->rounds + round] = slice(&operations[order[i]], &clean);
            disturbed[order[i]] += !clean;
        }
    }
    current = NULL;
    pthread_barrier_wait(&begun);
    pthread_join(second, NULL);
    for (size_t i = 0; i < count; i++)
        print(&operations[i], &samples[i * plan->rounds], plan->rounds, disturbed[i]);
    free(samples);
    free(disturbed);
    free(order);
}

/*
 * Slices: stretches of a few milliseconds in which one operation is repeated. Rounds of them alternate
 * between the operations of a program, in an order shuffled anew each round, so that whatever the machine
 * does in between strikes all of them alike.
 */
#ifndef BENCH_SLICES_H
#define BENCH_SLICES_H

#include <stddef.h>
#include <stdint.h>

#define MOST_THREADS 2

/* One a thread, each pinned to a core of its own. */
struct worker {
    unsigned index;
    unsigned threads; /* that take part in this slice */
    uint64_t start_ns, stop_ns;
    long switches; /* involuntary ones, of the thread */
};

struct operation {
    const char *name;
    unsigned threads;
    /* Do it `count` times, between slice_start() and slice_stop(). */
    void (*run)(struct worker *worker, uint64_t count);
    uint64_t count; /* 0: as often as fills a slice */
};

struct plan {
    unsigned rounds;
    uint64_t slice_ns, seed;
};

/* All threads of the slice pass slice_start() at once. */
void slice_start(struct worker *worker);
void slice_stop(struct worker *worker);

/*
 * Run the rounds and print a line of JSON an operation: {"name", "threads", "count", "disturbed", "samples"},
 * samples being nanoseconds a repetition on one thread (the mean of the threads). A slice in which the kernel
 * took a core away is done again; `disturbed` says how many of the samples it stayed true for even so.
 */
void slices_run(struct operation *operations, size_t count, const struct plan *plan);

uint64_t now_ns(void);
/* A stream of random numbers that a reader can make again. */
static inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}
/* Print to standard error and exit. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t number(const char *text);

#endif

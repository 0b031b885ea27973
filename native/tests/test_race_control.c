/*
 * A control of the thread sanitiser's builds: races that are made on purpose, in the writer's state and in a
 * chunk's bytes, are reported. What it does not look at (internal.h: load_unowned, copy_unowned) are the
 * reader's copies alone, whose fences the model proves (tests/model).
 */
#include "recorder_fixture.h"
#include <pthread.h>

#if defined(__SANITIZE_THREAD__)

#define REPORTED 99 /* TSAN_OPTIONS of tests/integration/native_build.py */

static struct writer *shared;
static uint32_t started;

static void *write_as_owner(void *argument)
{
    (void)argument;
    write_proof(1, 0);
    shared = tls_writer;
    store_relaxed(&started, 1); /* no release: nothing orders the two threads */
    for (uint64_t i = 1; i < 1000; i++)
        write_proof(1, i);
    return NULL;
}

/* Another thread appends with the writer of the first: as if it had stolen the chunk. */
static void steal(void)
{
    tls_writer = shared;
    for (uint64_t i = 0; i < 1000; i++)
        write_proof(2, i);
    tls_writer = NULL;
}

/* The owner's bytes are read as if they were one's own. */
static void peek(void)
{
    const volatile uint8_t *bytes = shared->base;
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 4096; i++)
            (void)bytes[i];
}

static void do_wrong(void (*wrong)(void))
{
    pthread_t thread;
    open_recorder(1, 0);
    CHECK(pthread_create(&thread, NULL, write_as_owner, NULL) == 0);
    while (!load_relaxed(&started))
        sched_yield();
    wrong();
    pthread_join(thread, NULL);
}

static int outcome_of(void (*wrong)(void))
{
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr); /* the report, which is wanted */
        do_wrong(wrong);
        _exit(0);
    }
    int status = status_of(child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void do_right(void) {}

int main(void)
{
    new_directory();
    CHECK(outcome_of(steal) == REPORTED);
    CHECK(outcome_of(peek) == REPORTED);
    CHECK(outcome_of(do_right) == 0);
    remove_directory(directory);
    puts("test_race_control: ok");
    return 0;
}

#else

int main(void)
{
    puts("needs the thread sanitiser: other builds don't report races");
    return SKIPPED;
}

#endif

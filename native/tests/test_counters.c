/*
 * Written = resident + recycled, exactly, while chunks are recycled all the time and processes are killed at
 * any moment: at most the one record that each was writing is not counted.
 */
#include "recorder_fixture.h"
#include <pthread.h>

#define PROCESSES 3
#define THREADS   2
#define ROUNDS    30
#define AT_EASE   4 /* this process of a round is not killed, but ends */

/* Of one thread; in memory that outlives its process. */
struct tally {
    uint64_t begun, done;
};
static struct tally (*tallies)[THREADS];
static uint32_t *stop;

static void *write_on(void *argument)
{
    struct tally *tally = argument;
    uint64_t payload[8] = {0};
    while (!load_relaxed(stop)) {
        store_relaxed(&tally->begun, tally->begun + 1);
        wbpf_event(1, WBPF_LEVEL_INFO, payload, tally->begun % sizeof payload); /* of no trace: no RESUME */
        store_relaxed(&tally->done, tally->done + 1);
    }
    return NULL;
}

static pid_t start(struct tally *mine)
{
    pid_t child = fork();
    if (child)
        return child;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, write_on, &mine[1]) == 0);
    write_on(&mine[0]);
    pthread_join(thread, NULL);
    wbpf_close();
    _exit(0);
}

static uint64_t sum(bool done)
{
    uint64_t total = 0;
    for (int i = 0; i < PROCESSES; i++)
        for (int j = 0; j < THREADS; j++)
            total += done ? load_relaxed(&tallies[i][j].done) : load_relaxed(&tallies[i][j].begun);
    return total;
}

int main(void)
{
    size_t bytes = PROCESSES * sizeof *tallies + sizeof *stop;
    tallies = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(tallies != MAP_FAILED);
    stop = (uint32_t *)(tallies + PROCESSES);
    new_directory();
    open_recorder(1, 1024);
    uint64_t most = 0, least = 0, in_flight = 0;
    for (int round = 0; round < ROUNDS; round++) {
        wbpf_segment *segment = open_reader();
        uint64_t before = written_of(segment);
        memset(tallies, 0, PROCESSES * sizeof *tallies);
        *stop = 0;
        pid_t children[PROCESSES];
        for (int i = 0; i < PROCESSES; i++)
            children[i] = start(tallies[i]);
        while (sum(true) < 20000)
            usleep(100);
        for (int i = 0; i < PROCESSES; i++)
            if ((round + i) % AT_EASE)
                kill_and_wait(children[i]);
        store_relaxed(stop, 1);
        for (int i = 0; i < PROCESSES; i++)
            if ((round + i) % AT_EASE == 0)
                check_exit(children[i]);
        uint64_t written = written_of(segment) - before;
        CHECK(sum(true) <= written && written <= sum(false));
        CHECK(sum(false) - sum(true) <= PROCESSES * THREADS);
        least += sum(true);
        most += sum(false);
        in_flight += sum(false) - written;
        wbpf_counters c = counters_of(segment);
        CHECK(c.refused == 0 && c.truncated == 0);
        close_reader(segment);
    }
    wbpf_segment *segment = open_reader();
    CHECK(counters_of(segment).recycled_records > least / 2);
    CHECK(most > least); /* some were killed in the middle of a call */
    close_reader(segment);
    wbpf_close();
    remove_directory(directory);
    printf("test_counters: ok, %llu records, %llu lost in flight\n", (unsigned long long)least,
           (unsigned long long)in_flight);
    return 0;
}

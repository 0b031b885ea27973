/*
 * Forks, raw clones, vforks and execs, while other threads are in the middle of events and of malloc: parent
 * and children record what is theirs, each under its own name, and nobody blocks.
 */
#include "recorder_fixture.h"
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>

#define CHILDREN 120
#define PROOFS   5

#if defined(__SANITIZE_THREAD__)
#define RAW_CLONE() fork() /* the sanitiser does not know that threads stay behind */
#else
#define RAW_CLONE() ((pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL))
#endif

extern char **environ;
static uint32_t stop;
static uint64_t written;

static void *write_traces(void *argument)
{
    uint64_t records = 0;
    for (uint64_t i = 0; !load_relaxed(&stop); i++) {
        wbpf_scope scope;
        wbpf_begin(&scope, 0, NULL);
        write_proof((uint64_t)(uintptr_t)argument, i);
        wbpf_end(&scope);
        void *memory = malloc(2000); /* larger than what a thread keeps for itself: takes the arena's lock */
        __asm__ volatile("" ::"r"(memory) : "memory");
        free(memory);
        records += 3;
        if (i % 8 == 0 || records > 100000)
            usleep(100); /* the segment has to hold all of it */
    }
    add_relaxed(&written, records);
    return NULL;
}

/* Nothing but tracing: after a raw clone, locks of the C library may be held by threads that are not there.
 */
static void be_child(int number)
{
    char name[16] = "child.0000";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int digit = 9, rest = number; digit > 5; digit--, rest /= 10)
        name[digit] = (char)('0' + rest % 10);
    wbpf_schema_register(name, NULL);
    for (uint64_t i = 0; i < PROOFS; i++)
        write_proof(1000 + (uint64_t)number, i);
    if (number % 3 == 1)
        kill(getpid(), SIGKILL);
    if (number % 3 == 2)
        execl("/bin/true", "true", NULL);
    _exit(0);
}

static void wait_for_child(pid_t pid, int number)
{
    int status = 0;
    snprintf(where, sizeof where, "child %d\n", number);
    for (int ms = 0; waitpid(pid, &status, WNOHANG) != pid; ms++) {
        CHECK(ms < 10000); /* else it blocks */
        usleep(1000);
    }
    CHECK(number % 3 == 1 && number >= 0 ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0);
}

static void find_children(const struct proof *p, const wbpf_piece *piece, void *argument)
{
    uint8_t (*times)[PROOFS] = argument;
    (void)piece;
    if (p->writer >= 1000)
        CHECK(p->writer < 1000 + CHILDREN && p->sequence < PROOFS &&
              ++times[p->writer - 1000][p->sequence] == 1);
}

static void test_fork_while_others_trace(void)
{
    static uint8_t times[CHILDREN][PROOFS];
    pthread_t threads[2];
    wbpf_segment *segment = open_reader();
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, write_traces, (void *)(i + 1)) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = i & 1 ? RAW_CLONE() : fork();
        CHECK(pid >= 0);
        if (pid == 0)
            be_child(i);
        wait_for_child(pid, i);
        pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", NULL);
            _exit(1);
        }
        wait_for_child(pid, -1);
        CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){"true", NULL}, environ) == 0);
        wait_for_child(pid, -1);
        write_proof(3, (uint64_t)i);
    }
    store_relaxed(&stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    size_t records = check_segment(segment, find_children, times);
    wbpf_counters c = counters_of(segment);
    CHECK(c.recycled_records == 0 && c.refused == 0 && c.resident_records == records);
    for (int i = 0; i < CHILDREN; i++)
        for (int k = 0; k < PROOFS; k++)
            CHECK(times[i][k] == 1);
    CHECK(records >=
          written + CHILDREN * (PROOFS + 1)); /* and a RESUME where a trace went on in a new chunk */
    CHECK(records <= written + CHILDREN * (PROOFS + 1) + c.chunks_used);
    CHECK(c.processes_alive == 1);
    uint32_t free_chunks = take_all_chunks(segment);
    CHECK(free_chunks == wbpf_segment_header(segment)->chunk_count - c.chunks_owned);
    close_reader(segment);
}

/* A child's child, and a thread of a child. */
static void *write_one(void *argument)
{
    write_proof((uint64_t)(uintptr_t)argument, 0);
    return NULL;
}

static void test_descendants(void)
{
    wbpf_segment *segment = open_reader();
    wbpf_scope scope;
    wbpf_begin(&scope, 0, NULL);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        write_proof(1, 0);
        CHECK(pthread_create(&thread, NULL, write_one, (void *)2) == 0);
        pthread_join(thread, NULL);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            write_proof(3, 0);
            wbpf_end(&scope); /* of the grandfather: does nothing */
            wbpf_close();
            _exit(0);
        }
        check_exit(grandchild);
        write_proof(4, 0);
        _exit(0);
    }
    check_exit(child);
    write_proof(5, 0);
    wbpf_end(&scope);
    CHECK(check_segment(segment, NULL, NULL) == 7);
    wbpf_counters c = counters_of(segment);
    CHECK(c.resident_records == 7 && c.refused == 0 && c.processes_alive == 1);
    close_reader(segment);
}

/* An application that tests errno after a call of its own finds it as it was. */
static void *check_errno(void *argument)
{
    wbpf_scope scope;
    wbpf_context sent;
    uint8_t laterals[1][16] = {{1}};
    for (int i = 0; i < 3000; i++) { /* in new chunks too */
        errno = EXDEV;
        wbpf_begin(&scope, 0, NULL);
        write_proof(1, 0);
        wbpf_schema_register(i % 2 ? "errno.a" : "errno.b", "n:u64");
        wbpf_send("h2", &sent);
        wbpf_trigger(0, 1, (const uint8_t (*)[16])laterals, 1);
        wbpf_clear();
        wbpf_end(&scope);
        CHECK(errno == EXDEV);
    }
    return argument;
}

static void test_errno_is_kept(void)
{
    pthread_t thread;
    check_errno(NULL);
    CHECK(pthread_create(&thread, NULL, check_errno, NULL) == 0);
    pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        check_errno(NULL);
        _exit(0);
    }
    check_exit(pid);
}

int main(void)
{
    mallopt(M_ARENA_MAX, 1); /* so that threads meet in malloc */
    void (*tests[])(void) = {test_fork_while_others_trace, test_descendants, test_errno_is_kept};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        new_directory();
        open_recorder(i == 0 ? 32 : 1, 0);
        tests[i]();
        wbpf_close();
        remove_directory(directory);
    }
    return 0;
}

/* Who is alive, and what follows from it: a chunk is taken from the dead, never from the living. */
#include "recorder_fixture.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>

/* The process that is to be doubted: one trace, and a proof whenever it is told. */
struct subject {
    pid_t pid;
    struct signal_pipe go, done;
};

static void run_subject(struct subject *s, uint64_t writer, void (*prepare)(void))
{
    wbpf_scope scope;
    open_recorder(1, 0);
    wbpf_begin(&scope, 0, NULL);
    for (uint64_t sequence = 0;; sequence++) {
        write_proof(writer, sequence);
        if (sequence == 0 && prepare)
            prepare();
        tell(&s->done);
        await(&s->go);
    }
}

static struct subject start_subject(uint64_t writer, void (*prepare)(void))
{
    struct subject s = {.go = new_pipe(), .done = new_pipe()};
    s.pid = fork();
    CHECK(s.pid >= 0);
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run_subject(&s, writer, prepare);
    }
    await(&s.done);
    return s;
}

static void let_write(struct subject *s)
{
    tell(&s->go);
    await(&s->done);
}

/* Write through the whole segment several times, from a process of its own. */
static void churn(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        open_recorder(1, 0);
        for (uint64_t i = 0; i < 30000; i++) {
            wbpf_scope scope;
            wbpf_begin(&scope, 0, NULL);
            write_proof(1, i);
            wbpf_end(&scope);
        }
        _exit(0);
    }
    check_exit(pid);
}

/* All chunks but `owned` can be taken, and the subject's proofs are as they should be. */
static void check_chunks(uint32_t owned)
{
    wbpf_segment *segment = open_reader();
    uint32_t chunks = wbpf_segment_header(segment)->chunk_count;
    check_segment(segment, NULL, NULL);
    CHECK(take_all_chunks(segment) == chunks - owned);
    close_reader(segment);
}

static void check_is_alive(struct subject *s, uint64_t writer, uint64_t proofs)
{
    struct seen seen = {.writer = writer};
    wbpf_segment *segment = open_reader();
    CHECK(wbpf_segment_process_alive(segment, 0, 0));
    check_segment(segment, see, &seen);
    CHECK(seen.count == proofs);
    close_reader(segment);
    check_chunks(1);
    kill_and_wait(s->pid);
    segment = open_reader();
    CHECK(!wbpf_segment_process_alive(segment, 0, 0));
    close_reader(segment);
    check_chunks(0);
}

static void close_everything(void)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            struct stat st;
            if (fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode))
                close(fd);
        }
}

static void test_close_all_descriptors(void)
{
    struct subject s = start_subject(7, close_everything);
    churn();
    let_write(&s);
    churn();
    let_write(&s);
    check_is_alive(&s, 7, 3);
}

static void close_a_reader(void)
{
    close_reader(open_reader());
}

static void test_close_a_reader_of_the_same_segment(void)
{
    struct subject s = start_subject(7, close_a_reader);
    churn();
    let_write(&s);
    check_is_alive(&s, 7, 2);
}

static void test_stopped_is_alive(void)
{
    struct subject s = start_subject(7, NULL);
    kill(s.pid, SIGSTOP);
    churn();
    kill(s.pid, SIGCONT);
    let_write(&s);
    check_is_alive(&s, 7, 2);
}

static pid_t *children; /* shared */

static void have_children(void)
{
    for (int i = 0; i < 2; i++) {
        pid_t pid = i ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : fork();
        if (pid == 0)
            for (;;)
                pause();
        children[i] = pid;
    }
}

static void test_children_do_not_keep_the_dead_alive(void)
{
    children = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct subject s = start_subject(7, have_children);
    churn();
    check_is_alive(&s, 7, 1);
    kill(children[0], SIGKILL);
    kill(children[1], SIGKILL);
    munmap(children, 4096);
}

static void become_another(void)
{
    execl("/bin/sleep", "sleep", "1000", NULL);
    abort();
}

static void test_exec_frees_all(void)
{
    struct subject s = {.go = new_pipe(), .done = new_pipe()};
    CHECK(fcntl(s.done.ends[1], F_SETFD, FD_CLOEXEC) == 0);
    s.pid = fork();
    if (s.pid == 0)
        run_subject(&s, 7, become_another);
    close(s.done.ends[1]);
    char byte;
    CHECK(read(s.done.ends[0], &byte, 1) == 0); /* closed by exec */
    wbpf_segment *segment = open_reader();
    for (int ms = 0; counters_of(segment).processes_alive && ms < 1000; ms++)
        usleep(1000); /* exec drops the mapping and closes the pipe in any order */
    CHECK(counters_of(segment).processes_alive == 0);
    close_reader(segment);
    check_chunks(0);
    kill_and_wait(s.pid);
}

/* Process 1 of a pid namespace of its own, as in a container; its pid says nothing about who it is. */
static void run_in_container(void (*run)(void), bool dies)
{
    pid_t outer = fork();
    CHECK(outer >= 0);
    if (outer == 0) {
        CHECK(unshare(CLONE_NEWPID) == 0);
        pid_t inner = fork();
        if (inner == 0) {
            CHECK(getpid() == 1);
            open_recorder(1, 0);
            run();
            if (!dies)
                wbpf_close();
            _exit(0);
        }
        check_exit(inner);
        _exit(0);
    }
    check_exit(outer);
}

static void write_one(void)
{
    wbpf_log(WBPF_LEVEL_INFO, "x", 1);
}

static void take_all(void)
{
    wbpf_segment *segment = open_reader();
    CHECK(take_all_chunks(segment) == wbpf_segment_header(segment)->chunk_count);
    CHECK(counters_of(segment).processes_alive == 2); /* the recorder of this process, and the reader */
    close_reader(segment);
}

static bool test_containers(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWPID) == 0 ? 0 : 1);
    int status = status_of(pid);
    if (WEXITSTATUS(status) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        run_in_container(write_one, true);
    run_in_container(take_all, true);
    return true;
}

static void test_two_recorders_in_one_process(void)
{
    struct process a, b;
    open_recorder(1, 0);
    CHECK(process_join(&wbpf_map, wbpf_path, &a) == 0);
    CHECK(process_join(&wbpf_map, wbpf_path, &b) == 0);
    CHECK(wbpf_state->process.slot != a.slot && a.slot != b.slot && wbpf_state->process.slot != b.slot);
    wbpf_segment *segment = open_reader();
    CHECK(counters_of(segment).processes_alive == 3);
    process_leave(&wbpf_map, &a);
    CHECK(counters_of(segment).processes_alive == 2);
    CHECK(wbpf_segment_process_alive(segment, wbpf_state->process.slot, 0));
    CHECK(wbpf_segment_process_alive(segment, b.slot, 0));
    process_leave(&wbpf_map, &b);
    wbpf_close();
    CHECK(counters_of(segment).processes_alive == 0);
    close_reader(segment);
}

int main(void)
{
    void (*tests[])(void) = {test_close_all_descriptors, test_close_a_reader_of_the_same_segment,
                             test_stopped_is_alive,      test_children_do_not_keep_the_dead_alive,
                             test_exec_frees_all,        test_two_recorders_in_one_process};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        new_directory();
        pid_t pid = fork();
        if (pid == 0) {
            tests[i]();
            _exit(0);
        }
        int status = status_of(pid);
        remove_directory(directory);
        CHECK(status == 0);
    }
    new_directory();
    bool contained = test_containers();
    remove_directory(directory);
    if (!contained)
        puts("needs CAP_SYS_ADMIN: to make pid namespaces");
    return contained ? 0 : SKIPPED;
}

/* The baseline: guest.c's work in C with libbpf; and the process whose system calls are traced. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct event {
    uint64_t number, words[3];
};

static struct bpf_object *object;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static int check(int result, const char *what)
{
    if (result >= 0)
        return result;
    fprintf(stderr, "%s: %s\n", what, strerror(-result));
    exit(1);
}

static void report(const char *what, int64_t start_ns, int64_t count)
{
    printf("%s %.3f\n", what, (double)(now_ns() - start_ns) / (double)count);
}

static int map(const char *name)
{
    return check(bpf_object__find_map_fd_by_name(object, name), name);
}

static void *section(const char *end, size_t *bytes)
{
    struct bpf_map *one;
    bpf_object__for_each_map(one, object) if (strstr(bpf_map__name(one), end)) return (
        void *)bpf_map__initial_value(one, bytes);
    exit(1);
}

static void start(const char *path, uint32_t tgid)
{
    size_t bytes;
    object = bpf_object__open_file(path, NULL);
    if (!object)
        exit(1);
    memcpy(section(".rodata", &bytes), &tgid, sizeof tgid); /* its only variable */
    int64_t at = now_ns();
    check(bpf_object__load(object), "load");
    report("load", at, 1);
}

static struct bpf_link *attach(void)
{
    int64_t at = now_ns();
    struct bpf_link *link = bpf_program__attach(bpf_object__find_program_by_name(object, "on_enter"));
    if (!link)
        exit(1);
    report("attach", at, 1);
    printf("attached\n");
    fflush(stdout);
    return link;
}

/* A slice for each line that comes in. */
static void measure_maps(uint32_t rounds)
{
    enum { KEYS = 512 };
    int table = map("table");
    uint64_t value, sum;
    uint32_t seen, key, next;
    while (getchar() != EOF) {
        int64_t at = now_ns();
        for (uint32_t round = 0; round < rounds; round++)
            for (key = 0; key < KEYS; key++) {
                value = key + round;
                check(bpf_map_update_elem(table, &key, &value, 0), "update");
            }
        report("update", at, (int64_t)rounds * KEYS);
        at = now_ns();
        sum = 0;
        for (uint32_t round = 0; round < rounds; round++)
            for (key = 0; key < KEYS; key++) {
                check(bpf_map_lookup_elem(table, &key, &value), "lookup");
                sum += value;
            }
        report("lookup", at, (int64_t)rounds * KEYS);
        at = now_ns();
        seen = 0;
        for (uint32_t round = 0; round < rounds; round++) {
            int error = bpf_map_get_next_key(table, NULL, &key);
            for (; error == 0; seen++, key = next)
                error = bpf_map_get_next_key(table, &key, &next);
        }
        report("next_key", at, seen);
        int64_t spent = 0;
        for (uint32_t round = 0; round < rounds; round++) {
            at = now_ns();
            for (key = 0; key < KEYS; key++)
                check(bpf_map_delete_elem(table, &key), "delete");
            spent += now_ns() - at;
            for (key = 0; key < KEYS; key++)
                check(bpf_map_update_elem(table, &key, &value, 0), "update");
        }
        printf("delete %.3f\n", (double)spent / ((double)rounds * KEYS));
        printf("sum %llu seen %u\n", (unsigned long long)sum, seen);
        fflush(stdout);
    }
}

static uint64_t expected;
static uint32_t wrong;

static int take(void *context, void *data, size_t size)
{
    const struct event *event = data;
    (void)context;
    (void)size;
    wrong += event->number != expected || event->words[2] != expected;
    expected++;
    return 0;
}

static void measure_ring(uint32_t rounds)
{
    struct ring_buffer *ring = ring_buffer__new(map("events"), take, NULL, NULL);
    int fill = bpf_program__fd(bpf_object__find_program_by_name(object, "fill"));
    uint32_t count = 20000;
    for (uint32_t round = 0; round < rounds; round++) {
        LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &count, .ctx_size_in = sizeof count);
        check(bpf_prog_test_run_opts(fill, &run), "fill");
        int64_t at = now_ns();
        int taken = ring_buffer__consume(ring);
        report("drain", at, count);
        if (taken != (int)count)
            wrong++;
    }
    printf("wrong %u expected %llu\n", wrong, (unsigned long long)expected);
}

/* Until `expect` events have come, or none for two seconds. */
static void measure_live(uint64_t expect)
{
    struct ring_buffer *ring = ring_buffer__new(map("events"), take, NULL, NULL);
    attach();
    int64_t quiet_since = now_ns();
    while (expected < expect && now_ns() - quiet_since < 2000000000ll)
        /* 0 is no time-out: a record that is still being written wakes too. */
        if (check(ring_buffer__poll(ring, 2000), "poll") > 0)
            quiet_since = now_ns();
    uint32_t zero = 0;
    uint64_t variables[2];
    check(bpf_map_lookup_elem(bpf_map__fd(bpf_object__find_map_by_name(object, ".bss")), &zero, variables),
          "bss");
    printf("wrong %u expected %llu refused %llu\n", wrong, (unsigned long long)expected,
           (unsigned long long)variables[1]);
}

/* So many calls, so many a second, once a line has come in. Prints how many a second they were. */
static void produce(uint64_t count, double a_second)
{
    printf("%d\n", getpid());
    fflush(stdout);
    if (getchar() == EOF)
        return;
    int64_t start_ns = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        syscall(SYS_getuid);
        if (i % 16 == 15)
            while ((double)(now_ns() - start_ns) < (double)i * 1e9 / a_second)
                ;
    }
    printf("%.0f\n", (double)count * 1e9 / (double)(now_ns() - start_ns));
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (strcmp(what, "produce") == 0) {
        produce(strtoull(words[2], NULL, 10), strtod(words[3], NULL));
        return 0;
    }
    if (count < 4)
        return 2;
    uint32_t number = (uint32_t)strtoul(words[3], NULL, 10);
    start(words[2], strcmp(what, "live") == 0 ? (uint32_t)strtoul(words[4], NULL, 10) : 1);
    if (strcmp(what, "startup") == 0) {
        struct bpf_link *link = attach();
        usleep(number * 1000);
        int64_t at = now_ns();
        bpf_link__destroy(link);
        report("detach", at, 1);
    } else if (strcmp(what, "maps") == 0) {
        measure_maps(number);
    } else if (strcmp(what, "ring") == 0) {
        measure_ring(number);
    } else if (strcmp(what, "live") == 0) {
        measure_live(number);
    }
    return 0;
}

/* A guest that makes the call that its first argument names, and prints `NAME VALUE` lines of what came of
 * it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wbpf/guest_abi.h>

static int32_t object;
static uint8_t bytes[16384];

static void tell(const char *name, long long value)
{
    printf("%s %lld\n", name, value);
    fflush(stdout);
}

static int32_t map(const char *name)
{
    return wbpf_abi_map_find(object, name, strlen(name));
}

static int32_t program(const char *name)
{
    return wbpf_abi_program_find(object, name, strlen(name));
}

static int32_t set(const char *name, uint32_t value)
{
    return wbpf_abi_object_set(object, name, strlen(name), &value, sizeof value);
}

static uint32_t result_of(const char *name)
{
    struct wbpf_run run = {0};
    wbpf_abi_program_run(program(name), NULL, 0, NULL, 0, NULL, 0, &run);
    return run.result;
}

static void user_ring(void)
{
    int32_t commands = map("commands"), error = 0;
    uint64_t record[2] = {20, 0}, count = 0;
    tell("submitted", wbpf_abi_user_ring_submit(commands, record, sizeof record));
    record[0] = 22;
    tell("another", wbpf_abi_user_ring_submit(commands, record, sizeof record));
    tell("drained", result_of("drain"));
    tell("drained_again", result_of("drain"));
    record[0] = 1;
    for (; !error && count < 10000; count += !error)
        error = wbpf_abi_user_ring_submit(commands, record, sizeof record);
    tell("until_full", count);
    tell("full", error);
    tell("all", result_of("drain"));
    tell("too_large", wbpf_abi_user_ring_submit(commands, bytes, 8192));
    tell("no_such_ring", wbpf_abi_user_ring_submit(map("table"), record, sizeof record));
}

static void run(void)
{
    struct wbpf_run run = {.reserved = 7};
    uint32_t context[2] = {21, 0};
    tell("twice", wbpf_abi_program_run(program("twice"), context, sizeof context, NULL, 0, NULL, 0, &run));
    tell("result", run.result);
    tell("reserved", run.reserved);
    tell("context", context[1]);
    uint8_t packet[64], out[64];
    memset(packet, 0x11, sizeof packet);
    memset(out, 0x77, sizeof out);
    tell("cut", wbpf_abi_program_run(program("cut"), NULL, 0, packet, sizeof packet, out, sizeof out, &run));
    tell("verdict", run.result);
    tell("bytes", run.data_bytes);
    tell("timed", run.duration_ns > 0);
    tell("first", out[0]);
    tell("last", out[61]);
    tell("behind", out[62]);
    tell("input", packet[0]);
    tell("small_output", wbpf_abi_program_run(program("cut"), NULL, 0, packet, 64, out, 8, &run));
    tell("another_type", wbpf_abi_program_run(program("sampled"), NULL, 0, NULL, 0, NULL, 0, &run));
}

/* The text in pieces of so many bytes, and a checksum of it. */
static void read_link(int32_t link, uint32_t piece)
{
    int32_t got;
    uint32_t total = 0, sum = 0;
    while ((got = wbpf_abi_link_read(link, bytes, piece)) > 0) {
        total += got;
        for (int32_t i = 0; i < got; i++)
            sum = sum * 31 + bytes[i];
    }
    tell("end", got);
    tell("bytes", total);
    tell("sum", sum);
}

static void iterate(uint32_t pid)
{
    int32_t link = wbpf_abi_program_attach(program("list"), NULL, 0, 0);
    set("printed", pid);
    read_link(link, sizeof bytes);
    read_link(link, 7);
    set("printed", 0);
    read_link(link, 7);
    tell("other", wbpf_abi_link_read(wbpf_abi_program_attach(program("on_enter"), NULL, 0, 0), bytes, 7));
}

static void pin(const char *path, const char *outside)
{
    int32_t table = map("table");
    uint32_t key = 5;
    uint64_t value = 55;
    wbpf_abi_map_update(table, &key, sizeof key, &value, sizeof value, 0);
    tell("outside", wbpf_abi_map_pin(table, outside, strlen(outside)));
    tell("pinned", wbpf_abi_map_pin(table, path, strlen(path)));
    tell("again", wbpf_abi_map_pin(table, path, strlen(path)));
}

/* Before loading. */
static void reuse(const char *path, const char *outside)
{
    uint32_t key = 5;
    uint64_t value = 0;
    int32_t table = map("table");
    tell("outside", wbpf_abi_map_reuse(table, outside, strlen(outside)));
    tell("missing", wbpf_abi_map_reuse(table, path, strlen(path) - 1));
    tell("other_kind", wbpf_abi_map_reuse(map("other"), path, strlen(path)));
    tell("reused", wbpf_abi_map_reuse(table, path, strlen(path)));
    tell("load", wbpf_abi_object_load(object));
    tell("lookup", wbpf_abi_map_lookup(table, &key, sizeof key, &value, sizeof value, 0));
    tell("value", value);
}

static void batch(void)
{
    enum { COUNT = 300, PIECE = 128 };
    static uint32_t keys[COUNT];
    static uint64_t values[COUNT];
    int32_t table = map("table"), got;
    uint32_t cursor[2] = {0}, seen = 0, wrong = 0, pieces = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        keys[i] = i;
        values[i] = 1000 + i;
    }
    tell("written", wbpf_abi_map_batch(table, WBPF_BATCH_UPDATE, NULL, 0, keys, sizeof keys, values,
                                       sizeof values, COUNT, 0));
    memset(keys, 0, sizeof keys);
    while ((got = wbpf_abi_map_batch(table, WBPF_BATCH_LOOKUP, cursor, sizeof cursor, keys, sizeof keys,
                                     values, sizeof values, PIECE, 0)) > 0) {
        for (int32_t i = 0; i < got; i++)
            wrong += values[i] != 1000 + keys[i];
        seen += got;
        pieces++;
    }
    tell("read", seen);
    tell("wrong", wrong);
    tell("pieces", pieces);
    tell("at_the_end", cursor[0]);
    tell("small_cursor", wbpf_abi_map_batch(table, WBPF_BATCH_LOOKUP, cursor, 4, keys, sizeof keys, values,
                                            sizeof values, PIECE, 0));
    tell("small_keys", wbpf_abi_map_batch(table, WBPF_BATCH_LOOKUP, cursor, sizeof cursor, keys, 4, values,
                                          sizeof values, PIECE, 0));
    tell("no_operation", wbpf_abi_map_batch(table, 4, cursor, sizeof cursor, keys, sizeof keys, values,
                                            sizeof values, PIECE, 0));
    for (uint32_t i = 0; i < 100; i++)
        keys[i] = i;
    tell("removed",
         wbpf_abi_map_batch(table, WBPF_BATCH_DELETE, NULL, 0, keys, sizeof keys, NULL, 0, 100, 0));
    cursor[0] = 0;
    for (seen = 0; (got = wbpf_abi_map_batch(table, WBPF_BATCH_LOOKUP_AND_DELETE, cursor, sizeof cursor, keys,
                                             sizeof keys, values, sizeof values, PIECE, 0)) > 0;)
        seen += got;
    tell("taken", seen);
    tell("left", wbpf_abi_map_next_key(table, NULL, 0, keys, sizeof keys[0]));
}

static int32_t attach(const char *name, const char *target)
{
    return wbpf_abi_program_attach(program(name), target, strlen(target), 0);
}

static void nowhere(void)
{
    tell("interface", attach("cut", "wbpf-none0"));
    tell("event", attach("sampled", "no-such-event@99"));
    tell("target", attach("list", "no target"));
    tell("tracepoint", attach("on_enter", "no_such_tracepoint"));
}

static void symbolise(char **words, int32_t pid)
{
    uint64_t addresses[3] = {strtoull(words[0], NULL, 10), 1, strtoull(words[0], NULL, 10) + 4};
    int32_t length = wbpf_abi_symbolise(addresses, sizeof addresses, pid, bytes, sizeof bytes);
    printf("%.*s", length, bytes);
    tell("same_length", wbpf_abi_symbolise(addresses, sizeof addresses, pid, bytes, 4) == length);
    tell("no_process", wbpf_abi_symbolise(addresses, sizeof addresses, 1 << 30, bytes, sizeof bytes));
}

/* How many of the traced calls each process made, when it is told to end. */
static void count(void)
{
    int32_t table = map("table"), ready;
    uint32_t key, next;
    uint64_t value;
    wbpf_abi_program_attach(program("on_enter"), NULL, 0, 0);
    tell("attached", 1);
    while (wbpf_abi_wait(1000, &ready, sizeof ready) >= 0)
        ;
    int32_t error = wbpf_abi_map_next_key(table, NULL, 0, &key, sizeof key);
    for (; !error; key = next) {
        wbpf_abi_map_lookup(table, &key, sizeof key, &value, sizeof value, 0);
        printf("%u %lld\n", key, (long long)value);
        error = wbpf_abi_map_next_key(table, &key, sizeof key, &next, sizeof next);
    }
}

int main(int argc, char **words)
{
    const char *what = argc > 1 ? words[1] : "";
    object = wbpf_abi_object_open(NULL, 0);
    if (object < 0)
        return 3;
    if (strcmp(what, "count") == 0) {
        wbpf_abi_program_autoload(program("drain"), 0);
        set("number", strtoul(words[2], NULL, 10));
    }
    if (strcmp(what, "reuse") == 0) {
        reuse(words[2], words[3]);
        return 0;
    }
    if (wbpf_abi_object_load(object))
        return 4;
    if (strcmp(what, "user_ring") == 0)
        user_ring();
    else if (strcmp(what, "run") == 0)
        run();
    else if (strcmp(what, "iterate") == 0)
        iterate(strtoul(words[2], NULL, 10));
    else if (strcmp(what, "pin") == 0)
        pin(words[2], words[3]);
    else if (strcmp(what, "nowhere") == 0)
        nowhere();
    else if (strcmp(what, "batch") == 0)
        batch();
    else if (strcmp(what, "symbolise") == 0)
        symbolise(words + 2, strtol(words[3], NULL, 10));
    else if (strcmp(what, "count") == 0)
        count();
    return 0;
}

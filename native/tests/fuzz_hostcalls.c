/*
 * Guests that call every host function with whatever comes: handles right and wrong, ranges inside, across
 * and outside their memory, windows of the kernel's. `fuzz_hostcalls SECONDS LIBRARY OBJECT [FIRST]`: LIBRARY
 * is Wasmtime's, OBJECT an eBPF object. Each case is made from its number alone, which a failure prints. In
 * every other one the host is a stub with maps that are real where the kernel lets us, else that of
 * host.c.
 */
#include "check.h"
#include "hostcalls/abi.h"
#include "hostcalls/hostcalls.h"
#include "kernel/kernel.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS 80
#define SLOTS 64

static uint64_t state, number;
static wbpf_guest *guest;
static int map_fds[16];
static uint32_t maps, ended[8];
static wbpf_host_object object = {.name = "object"};
static wbpf_host *host;       /* NULL: the stub answers */
static char addresses[2][32]; /* of servers of our own, by UDP and TCP */

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state * 0x2545f4914f6cdd1dull >> 11) % below;
}

#if defined(__SANITIZE_ADDRESS__)
void __sanitizer_set_death_callback(void (*callback)(void));
static void say_case(void)
{
    fprintf(stderr, "case %" PRIu64 "\n", number);
}
#endif

/* ---- the host's side ---- */

static void make_maps(void)
{
    static const struct {
        uint32_t type, key_bytes, value_bytes, entries, flags;
    } all[] = {{BPF_MAP_TYPE_HASH, 4, 8, 64, 0},
               {BPF_MAP_TYPE_ARRAY, 4, 16, 8, 0},
               {BPF_MAP_TYPE_ARRAY, 4, 8, 512, BPF_F_MMAPABLE},
               {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 4, 0},
               {BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0},
               {BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 8, 0},
               {BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4, 0},
               {BPF_MAP_TYPE_QUEUE, 0, 8, 4, 0},
               {BPF_MAP_TYPE_LPM_TRIE, 8, 4, 4, BPF_F_NO_PREALLOC}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        union bpf_attr attr = {.map_type = all[i].type,
                               .key_size = all[i].key_bytes,
                               .value_size = all[i].value_bytes,
                               .max_entries = all[i].entries,
                               .map_flags = all[i].flags};
        int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
        if (fd >= 0)
            map_fds[maps++] = fd;
    }
}

/* Says something to each who comes. */
static void *serve(void *data)
{
    static const char said[70000];
    for (;;) {
        int fd = accept(*(int *)data, NULL, NULL);
        if (fd < 0)
            return NULL;
        (void)!send(fd, said, sizeof said, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
    }
}

static void make_servers(void)
{
    static int fds[2];
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t bytes = sizeof place;
        fds[i] = socket(AF_INET, (i ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
        CHECK(fds[i] >= 0 && bind(fds[i], (struct sockaddr *)&place, bytes) == 0);
        CHECK(getsockname(fds[i], (struct sockaddr *)&place, &bytes) == 0);
        snprintf(addresses[i], sizeof addresses[i], "%s:127.0.0.1:%u", i ? "tcp" : "udp",
                 ntohs(place.sin_port));
    }
    CHECK(listen(fds[1], 64) == 0 && pthread_create(&thread, NULL, serve, &fds[1]) == 0);
}

static int64_t answer(void *user, const char *function, wbpf_guest_argument *arguments, uint32_t count)
{
    char why[WBPF_WASM_WHY_BYTES];
    (void)user;
    /* All that was promised can be read and written. */
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t at = 0; strchr("tbwxs", arguments[i].kind) && at < arguments[i].bytes; at += 512) {
            volatile uint8_t *byte = arguments[i].data + at;
            uint8_t seen = *byte;
            if (strchr("wxs", arguments[i].kind))
                *byte = seen;
        }
    if (host)
        return wbpf_host_call(host, function, arguments, count);
    if (strcmp(function, "object_open") == 0 || strcmp(function, "wasm_load_bpf_object") == 0)
        return wbpf_guest_add(guest, 'o', 0);
    if (strcmp(function, "program_find") == 0)
        return wbpf_guest_add(guest, 'p', (int32_t)arguments[0].number);
    if (strcmp(function, "program_attach") == 0)
        return wbpf_guest_add(guest, 'l', (int32_t)arguments[0].number);
    if (strcmp(function, "map_find") == 0)
        return wbpf_guest_add_map(guest, (int32_t)arguments[0].number,
                                  maps && draw(8) ? map_fds[draw(maps)] : -1, why);
    if (strcmp(function, "ring_open") == 0)
        return wbpf_guest_open_ring(guest, (int32_t)arguments[0].number, arguments[1].number & 1);
    if (strcmp(function, "map_window") == 0)
        return wbpf_guest_map_window(guest, (int32_t)arguments[0].number, arguments[1].number & 1);
    if (strcmp(function, "object_close") == 0 || strcmp(function, "link_detach") == 0)
        wbpf_guest_release(guest, (int32_t)arguments[0].number);
    return -(int64_t)draw(2);
}

static int64_t emit(void *user, uint32_t kind, const void *records, uint32_t bytes)
{
    (void)user;
    (void)kind;
    (void)records;
    return draw(50) ? bytes : WBPF_GUEST_END;
}

static void drop_log(void *user, uint32_t level, const char *said, uint32_t bytes)
{
    (void)user;
    (void)level;
    (void)said;
    (void)bytes;
}

/* As Python would, from the whole of what was noted. */
static int explain(void *user, const wbpf_host_failure *failure, char *words)
{
    size_t at = 0, texts = 0;
    (void)user;
    for (uint32_t bytes; at < failure->bytes; at += sizeof bytes + bytes, texts++)
        memcpy(&bytes, failure->texts + at, sizeof bytes);
    CHECK(at == failure->bytes && texts >= 2);
    memcpy(words, "words", 6);
    return EINVAL;
}

static void explain_last(void *user)
{
    (void)user;
    if (host)
        wbpf_host_explain(host);
}

/* ---- the guest's side, as text ---- */

static char *text, *end;

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    end += vsprintf(end, format, arguments);
    va_end(arguments);
}

static uint32_t some_number(void)
{
    static const uint32_t edges[] = {0,     1,      4,      8,          64,         4096,
                                     65536, 131068, 131072, 0x7fffffff, 0x80000000, 0xffffffff};
    switch (draw(4)) {
    case 0:
        return edges[draw(sizeof edges / sizeof edges[0])];
    case 1:
        return (uint32_t)draw(4096) * 4;
    case 2:
        return (uint32_t)draw(64);
    default:
        return (uint32_t)draw(131072);
    }
}

/* What an earlier call returned (a handle, an address), or a number. */
static void add_word(void)
{
    if (draw(2))
        add("(i32.load (i32.const %" PRIu64 "))", 8192 + draw(SLOTS) * 4);
    else
        add("(i32.const %u)", some_number());
}

static void add_size(void)
{
    static const uint32_t usual[] = {0, 4, 8, 12, 16, 24, 4096};
    if (draw(4))
        add("(i32.const %u)", usual[draw(sizeof usual / sizeof usual[0])]);
    else
        add("(i32.const %u)", some_number());
}

static void add_call(const char *name, const char *parameters, bool is_wide)
{
    bool waits = strcmp(name, "wait") == 0 || strncmp(name, "socket_", 7) == 0;
    add("(i32.store (i32.const %" PRIu64 ") %s(call $%s ", 8192 + draw(SLOTS) * 4,
        is_wide ? "(i32.wrap_i64 " : "", name);
    for (const char *kind = parameters; *kind; kind++) {
        if (waits && *kind == 'i')
            add("(i32.const %" PRIu64 ")", draw(2));
        else if (*kind == 'I' || *kind == 'U')
            add("(i64.extend_i32_u (i32.load (i32.const %" PRIu64 ")))", 8192 + draw(SLOTS) * 4);
        else
            add_word();
        if (strchr("tbwx", *kind))
            add_size();
    }
    add("))%s\n", is_wide ? ")" : "");
}

struct function {
    const char *module, *name, *parameters;
    bool is_wide;
};

static const struct function functions[] = {
#define LISTED(name, parameters, bytes, wide) {"wbpf", #name, parameters, wide},
    WBPF_NATIVE_FUNCTIONS(LISTED) WBPF_SCRIPTED_FUNCTIONS(LISTED)
#undef LISTED
        {"wasm_bpf", "wasm_load_bpf_object", "ii", true},
    {"wasm_bpf", "wasm_close_bpf_object", "I", false},
    {"wasm_bpf", "wasm_attach_bpf_program", "Iii", false},
    {"wasm_bpf", "wasm_attach_bpf_program_fd", "Iii", false},
    {"wasm_bpf", "wasm_bpf_map_fd_by_name", "Ii", false},
    {"wasm_bpf", "wasm_bpf_map_operate", "iiiiiI", false},
};
#define FUNCTIONS (sizeof functions / sizeof functions[0])
static const char *const openers[] = {"object_open", "map_find",     "program_find",
                                      "ring_open",   "map_window",   "wait",
                                      "socket_send", "socket_watch", "socket_receive"};

static const struct function *some_function(void)
{
    if (draw(3))
        return &functions[draw(FUNCTIONS)];
    const char *name = openers[draw(sizeof openers / sizeof openers[0])];
    for (size_t i = 0;; i++)
        if (strcmp(functions[i].name, name) == 0)
            return &functions[i];
}

static void write_guest(void)
{
    static const char *const names[] = {"events", "counts", "perf", "shared", "on_enter"}; /* of the object */
    end = text;
    add("(module\n");
    for (size_t i = 0; i < FUNCTIONS; i++) {
        add("(import \"%s\" \"%s\" (func $%s", functions[i].module, functions[i].name, functions[i].name);
        for (const char *kind = functions[i].parameters; *kind; kind++)
            add(" (param %s)%s", *kind == 'I' || *kind == 'U' ? "i64" : "i32",
                strchr("tbwx", *kind) ? " (param i32)" : "");
        add(" (result %s)))\n", functions[i].is_wide ? "i64" : "i32");
    }
    add("(import \"wasm_bpf\" \"wasm_bpf_buffer_poll\" (func $poll (param i64 i32 i32 i32 i32 i32 i32) "
        "(result i32)))\n"
        "(memory (export \"memory\") 2) (table (export \"__indirect_function_table\") 2 funcref)\n"
        "(elem (i32.const 1) $sample) (func $sample (param i32 i32 i32) (result i32) (i32.const 0))\n"
        "");
    for (int i = 0; i < 5; i++)
        add("(data (i32.const %d) \"%s\")\n", 64 + i * 64, names[i]);
    for (int i = 0; i < 2; i++)
        add("(data (i32.const %d) \"%s\")\n", 512 + i * 64, addresses[i]);
    add("(func (export \"_start\")\n"
        "(i32.store (i32.const 8192) (call $object_open (i32.const 0) (i32.const 0)))\n");
    for (int i = 0; i < 4; i++)
        add("(i32.store (i32.const %d) (call $map_find (i32.load (i32.const 8192)) (i32.const %d) (i32.const "
            "%zu)))\n",
            8196 + i * 4, 64 + i * 64, strlen(names[i]));
    for (int i = 0; i < 2; i++)
        add("(i32.store (i32.const %d) (call $socket_connect (i32.const %d) (i32.const %zu) (i32.const "
            "50)))\n",
            8212 + i * 4, 512 + i * 64, strlen(addresses[i]));
    for (int i = 0; i < CALLS; i++) {
        const struct function *one = some_function();
        uint64_t sort = draw(12);
        if (sort == 0) {
            add("(drop (call $poll (i64.extend_i32_u ");
            add_word();
            add(") ");
            add_word();
            add(" (i32.const %" PRIu64 ") (i32.const 0) ", draw(3));
            add_word();
            add_size();
            add(" (i32.const 1)))\n");
        } else if (sort == 1 && draw(3)) { /* inside */
            add("(i64.store (i32.and ");
            add_word();
            add(" (i32.const 0x1fff8)) (i64.const %" PRIu64 "))\n", draw(UINT64_MAX >> 12));
        } else if (sort == 1) { /* anywhere, windows too, by Wasmtime's own hand */
            add("(memory.fill ");
            add_word();
            add(" (i32.const 7) (i32.const %" PRIu64 "))\n", draw(16) * 512);
        } else {
            add_call(one->name, one->parameters, one->is_wide);
        }
    }
    add("))\n");
}

static void take(void *to, const char *wasm, size_t bytes)
{
    char why[WBPF_WASM_WHY_BYTES];
    CHECK(wbpf_wasm_module_compile(wasm, bytes, false, to, why) == 0);
}

static void run_case(int null)
{
    char why[WBPF_WASM_WHY_BYTES] = "";
    const char *arguments[] = {"guest"};
    wbpf_wasm_module *module = NULL;
    wbpf_guest_end how;
    state = number * 0x9e3779b97f4a7c15ull + 1;
    write_guest();
    if (wbpf_wasm_from_text(text, (size_t)(end - text), take, &module, why) != 0) {
        fprintf(stderr, "%s\n", why);
        CHECK(false);
    }
    static const char *const granted[] = {"udp:127.0.0.1:*", "tcp:*:*"};
    wbpf_guest_spec spec = {.addresses = granted,
                            .address_count = 2,
                            .arguments = arguments,
                            .argument_count = 1,
                            .stdout_fd = null,
                            .stderr_fd = null,
                            .memory_bytes = 8 << 20,
                            .deadline_ns = 2000000000,
                            .call = answer,
                            .explain = explain_last};
    static const wbpf_host_param params[] = {{"name", "value", "", 's', 0}, {"low", "3", "limit", 'u', 3}};
    static const wbpf_host_event events[] = {{"pair", 8}};
    static const char *const places[] = {"raw_tp/sys_*", "tp"}, *const unwanted[] = {"other"};
    static const uint32_t types[] = {17}; /* BPF_PROG_TYPE_RAW_TRACEPOINT */
    wbpf_host_spec host_spec = {.objects = &object,
                                .object_count = 1,
                                .params = params,
                                .param_count = 2,
                                .events = events,
                                .event_count = 1,
                                .unwanted = unwanted,
                                .unwanted_count = 1,
                                .places = places,
                                .place_count = 2,
                                .types = types,
                                .type_count = 1,
                                .may_all = number % 4 == 1,
                                .emit = emit,
                                .log = drop_log,
                                .explain = explain};
    host = object.bytes && number % 2 ? wbpf_host_create(&host_spec) : NULL;
    CHECK(wbpf_guest_create(module, &spec, &guest, why) == 0);
    if (host)
        wbpf_host_serve(host, guest);
    wbpf_guest_run(guest, &how);
    ended[how.cause]++;
    if (host)
        wbpf_host_destroy(host);
    wbpf_guest_destroy(guest);
    wbpf_wasm_module_release(module);
}

/* Where there is no libbpf all cases are the stub's. */
static void read_object(const char *path)
{
    char why[WBPF_WASM_WHY_BYTES];
    FILE *file = fopen(path, "rb");
    CHECK(file);
    char *elf = malloc(1 << 20);
    CHECK(elf);
    if (wbpf_libbpf_find(why) == 0)
        object.bytes = fread(elf, 1, 1 << 20, file);
    object.elf = elf;
    fclose(file);
}

int main(int count, char **words)
{
    char why[WBPF_WASM_WHY_BYTES];
    CHECK(count > 3);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(say_case);
#endif
    if (wbpf_wasmtime_open(words[2], why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    text = malloc(1 << 20);
    make_maps();
    make_servers();
    read_object(words[3]);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    double seconds = strtod(words[1], NULL);
    uint64_t first = count > 4 ? strtoull(words[4], NULL, 10) : (uint64_t)time(NULL) << 20;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    number = first;
    do {
        run_case(null);
        number++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) < seconds);
    printf("%" PRIu64 " cases from %" PRIu64
           ", %u real maps: %u exited, %u trapped, %u refused, %u overtime\n",
           number - first, first, maps, ended[WBPF_GUEST_EXITED], ended[WBPF_GUEST_TRAPPED],
           ended[WBPF_GUEST_REFUSED], ended[WBPF_GUEST_OVERTIME]);
    free(text);
    free((void *)object.elf);
    return 0;
}

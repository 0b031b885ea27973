/* What the command `wbpf` reads before it runs anything: plans and command lines, whole and damaged. */
#include "check.h"
#include "launcher/launcher.h"
#include <string.h>

static char plan_bytes[4096];
static size_t used;
static const char *network; /* a pattern of addresses, or NULL */

static void put(const void *data, size_t bytes)
{
    memcpy(plan_bytes + used, data, bytes);
    used += bytes;
}

static void number(uint32_t value)
{
    put(&value, sizeof value);
}

static void wide(uint64_t value)
{
    put(&value, sizeof value);
}

static void text(const char *value)
{
    number((uint32_t)strlen(value));
    put(value, strlen(value) + 1);
}

static void texts(const char *first, const char *second)
{
    number(!!first + !!second);
    if (first)
        text(first);
    if (second)
        text(second);
}

static void param(const char *name, char type, const char *value, uint64_t bits)
{
    text(name);
    number((uint32_t)type);
    number(1);
    wide(bits);
    text(value);
    text("variable");
    texts("one", "two");
    number(type == 'e' ? 2 : 0);
    for (int i = 0; type == 'e' && i < 2; i++) {
        text(i ? "b" : "a");
        texts(i ? "three" : NULL, NULL);
    }
}

/* As src/wbpf/wasm/plan.py writes one. */
static void make_plan(void)
{
    used = 0;
    put("wbpfplan", 8);
    number(2);
    number(0); /* its size */
    text("/lib/libwasmtime.so");
    number(0);
    number(WISH_PROGRAMS | WISH_ATTACH | (network ? WISH_NETWORK : 0));
    number(64);
    wide(10000);
    number(2);
    number(5);
    number(17);
    texts("tp/sched/*", "xdp");
    texts(network, NULL);
    texts("HOME", NULL);
    number(6);
    param("low", 'u', "3", 3);
    param("deep", 'i', "-3", (uint64_t)-3);
    param("on", 'b', "false", 0);
    param("mode", 'e', "a", 0);
    param("name", 's', "x", 0);
    param("for", 'd', "1", 1);
    number(1);
    text("events");
    number(100);
    number(50);
    number(1);
    text("pair");
    number(8);
    texts("a", "b");
    uint32_t size = (uint32_t)used;
    memcpy(plan_bytes + 12, &size, sizeof size);
}

static void *copy(size_t bytes)
{
    char *content = malloc(bytes + 1); /* exactly so large, for the sanitiser */
    CHECK(content);
    memcpy(content, plan_bytes, bytes);
    return realloc(content, bytes ? bytes : 1);
}

static void test_plan(void)
{
    struct plan plan;
    make_plan();
    CHECK(plan_read(&plan, copy(used), used, 150) == 0);
    CHECK(plan.param_count == 6 && plan.object_count == 1 && plan.objects[0].bytes == 50);
    CHECK(strcmp(plan.library, "/lib/libwasmtime.so") == 0 && strcmp(plan.places.at[1], "xdp") == 0);
    CHECK(plan.type_count == 2 && plan.types[1] == 17 && plan.deadline_ms == 10000);
    plan_deinit(&plan);
    /* an object that is not in the module */
    CHECK(plan_read(&plan, copy(used), used, 149) != 0);
    plan_deinit(&plan);
    for (size_t bytes = 0; bytes < used; bytes++) {
        CHECK(plan_read(&plan, copy(bytes), bytes, 150) != 0);
        plan_deinit(&plan);
    }
}

static void test_damaged_plans(void)
{
    struct plan plan;
    uint64_t state = 1;
    uint32_t refused = 0;
    for (int round = 0; round < 20000; round++) {
        make_plan();
        for (int i = 0; i < 1 + round % 4; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            plan_bytes[16 + (state >> 33) % (used - 16)] = (char)(state >> 24);
        }
        refused += plan_read(&plan, copy(used), used, 150) != 0;
        plan_deinit(&plan);
    }
    CHECK(refused > 10000);
}

static int read_words(struct arguments *arguments, struct plan *plan, char **words)
{
    int count = 0;
    while (words[count])
        count++;
    make_plan();
    CHECK(plan_read(plan, copy(used), used, 150) == 0);
    return arguments_find(arguments, words, count) || arguments_read(arguments, plan) ? -1 : 0;
}

static void test_arguments(void)
{
    struct arguments arguments;
    struct plan plan;
    char *good[] = {"-v",       "-o",  "json",   "app.wasm", "--allow", "programs,attach", "--low=007",
                    "--deep",   "-12", "--on",   "--mode",   "b",       "--for",           "1.5ms",
                    "--fields", "b,a", "--name", "--",       "x",       "--duration=2s",   "--",
                    "--low",    NULL};
    CHECK(read_words(&arguments, &plan, good) == 0);
    CHECK(arguments.module == 3 && arguments.verbose && strcmp(arguments.output, "json") == 0);
    CHECK(arguments.guest_count == 2 && strcmp(arguments.guest[1], "--low") == 0);
    CHECK(arguments.duration_ns == 2000000000 && strcmp(plan.params[0].text, "7") == 0);
    CHECK((int64_t)plan.params[1].bits == -12 && plan.params[2].bits == 1 && plan.params[3].bits == 1);
    CHECK(strcmp(plan.params[4].text, "--") == 0 && plan.params[5].bits == 1500000);
    free(arguments.guest);
    plan_deinit(&plan);
    static char *const bad[] = {"--low=-1",
                                "--low=1234567890123456789",
                                "--low=",
                                "--for=1",
                                "--for=.5s",
                                "--for=0.0000000001s",
                                "--mode=c",
                                "--on=2",
                                "--fields=a,c",
                                "--fields=",
                                "--allow=all,fs",
                                "--no-low",
                                "--no-",
                                "-z",
                                "--",
                                "--memory=0",
                                "--memory=99999999",
                                "--help",
                                "--pid=0",
                                "--comm=sixteen bytes now",
                                "--for=99999999999h"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *words[] = {"app.wasm", bad[i], "--allow=none", NULL};
        CHECK(read_words(&arguments, &plan, words) != 0);
        free(arguments.guest);
        plan_deinit(&plan);
    }
}

/* What a module may connect to, by the values of its parameters. */
static void test_network(void)
{
    static const struct {
        const char *pattern, *flag, *address; /* "" for none, NULL for what is left to Python */
    } all[] = {{"udp:a:1", "-v", "udp:a:1"},
               {"udp:{name}:{low}", "-v", "udp:x:3"},
               {"udp:{name}", "--name=localhost:8125", "udp:localhost:8125"},
               {"udp:{name}", "--name=", ""},
               {"udp:{name}{none}", "--name=a:1", ""},
               {"udp:{name}", "--name=a", NULL},
               {"udp:{name", "-v", NULL}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct arguments arguments;
        struct plan plan;
        char flag[64], *words[] = {"app.wasm", flag, "--allow", "programs,attach,network", NULL};
        strcpy(flag, all[i].flag);
        network = all[i].pattern;
        CHECK(read_words(&arguments, &plan, words) == (all[i].address ? 0 : -1));
        bool is_some = all[i].address && *all[i].address;
        CHECK(plan.addresses.count == is_some && !is_some == !(plan.wishes & WISH_NETWORK && all[i].address));
        CHECK(!is_some || strcmp(plan.addresses.at[0], all[i].address) == 0);
        free(arguments.guest);
        plan_deinit(&plan);
        /* without the grant: only what asks for nothing is run */
        words[3] = "programs,attach";
        CHECK(read_words(&arguments, &plan, words) == (all[i].address && !is_some ? 0 : -1));
        free(arguments.guest);
        plan_deinit(&plan);
    }
    network = NULL;
}

static void test_hash(void)
{
    /* RFC 7693, appendix A; and a million bytes, in pieces, by Python's hashlib */
    static const uint8_t abc[8] = {0xba, 0x80, 0xa5, 0x3f, 0x98, 0x1c, 0x4d, 0x0d};
    static const uint8_t million[8] = {0xeb, 0x3a, 0x3e, 0x3d, 0x1a, 0x19, 0xae, 0x2d};
    uint8_t digest[64], piece[1000];
    struct blake2b hash;
    blake2b_init(&hash, 64);
    blake2b_update(&hash, "abc", 3);
    blake2b_final(&hash, digest);
    CHECK(memcmp(digest, abc, sizeof abc) == 0);
    memset(piece, 'a', sizeof piece);
    blake2b_init(&hash, 24);
    for (int i = 0; i < 1000; i++)
        blake2b_update(&hash, piece, sizeof piece);
    blake2b_final(&hash, digest);
    CHECK(memcmp(digest, million, sizeof million) == 0);
}

static void test_printable(void)
{
    CHECK(log_is_printable('a') && log_is_printable(0xb5) && log_is_printable(0x2192));
    CHECK(!log_is_printable(0x1b) && !log_is_printable(0x7f) && !log_is_printable(0x85));
    CHECK(!log_is_printable(0xad) && !log_is_printable(0x202e) && !log_is_printable(0x2028));
}

int main(void)
{
    test_plan();
    test_damaged_plans();
    test_arguments();
    test_network();
    test_hash();
    test_printable();
    return 0;
}

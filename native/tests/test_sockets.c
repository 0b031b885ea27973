/* Sockets of guests where names are slow to look up, in bounded time; and addresses with their patterns. The
 * resolver is this program's. */
#include "check.h"
#include "hostcalls/guest.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

static _Atomic int lookups, ended;
static _Atomic bool may_end;

/* `slow` is answered once it may be. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    struct addrinfo *one = calloc(1, sizeof *one + sizeof(struct sockaddr_in));
    struct sockaddr_in *place = (struct sockaddr_in *)(one + 1);
    CHECK(one);
    atomic_fetch_add(&lookups, 1);
    while (strcmp(name, "slow.example") == 0 && !atomic_load(&may_end))
        usleep(1000);
    *place =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    /* evil.example: a cloud's metadata */
    place->sin_addr.s_addr = htonl(strcmp(name, "evil.example") == 0 ? 0xa9fea9fe : 0xc0000201);
    one->ai_family = AF_INET;
    one->ai_socktype = hints->ai_socktype;
    one->ai_addr = (struct sockaddr *)place;
    one->ai_addrlen = sizeof *place;
    *out = one;
    atomic_fetch_add(&ended, 1);
    return strcmp(name, "none.example") == 0 ? EAI_NONAME : 0;
}

void freeaddrinfo(struct addrinfo *one)
{
    free(one);
}

static void init(wbpf_guest *guest)
{
    static const char *const granted[] = {"udp:*.example:*"};
    *guest = (wbpf_guest){.overtime_at_ns = UINT64_MAX};
    guest->handles = calloc(ABI_MAX_HANDLES, sizeof *guest->handles);
    CHECK(guest->handles && guest_grant_addresses(guest, granted, 1) == 0);
    pthread_mutex_init(&guest->mutex, NULL);
}

static void deinit(wbpf_guest *guest)
{
    guest_handles_deinit(guest);
    free(guest->addresses);
    if (guest->lookup)
        lookup_drop(guest->lookup);
    pthread_mutex_destroy(&guest->mutex);
}

static int64_t connect_to(wbpf_guest *guest, const char *address, int timeout_ms)
{
    char text[64];
    strcpy(text, address);
    wbpf_guest_argument arguments[] = {
        {.kind = 't', .data = (uint8_t *)text, .bytes = (uint32_t)strlen(text)},
        {.kind = 'i', .number = timeout_ms}};
    guest->has_spoken = false;
    return native_socket_connect(guest, arguments);
}

/* A lookup is left behind when its time is over; until it ends there is no other. */
static void test_slow_names(void)
{
    wbpf_guest guest;
    init(&guest);
    uint64_t start_ns = monotonic_ns();
    CHECK(connect_to(&guest, "udp:slow.example:53", 100) == -ETIMEDOUT);
    uint64_t took_ms = (monotonic_ns() - start_ns) / 1000000;
    CHECK(took_ms >= 100 && took_ms < 5000 && lookups == 1 && ended == 0);
    CHECK(strstr(guest.last_error, "slow.example could not be looked up in time"));
    CHECK(connect_to(&guest, "udp:fast.example:53", 100) == -EBUSY && lookups == 1);
    CHECK(strstr(guest.last_error, "slow.example is still being looked up"));
    atomic_store(&may_end, true);
    int64_t handle;
    while ((handle = connect_to(&guest, "udp:fast.example:53", 5000)) == -EBUSY)
        usleep(1000);
    CHECK(handle > 0 && guest.socket_count == 1 && lookups == 2);
    /* nor is a name looked up that is not granted */
    CHECK(connect_to(&guest, "udp:example:53", 100) == -EPERM && lookups == 2);
    CHECK(connect_to(&guest, "udp:none.example:53", 5000) == -ENOENT && lookups == 3);
    CHECK(connect_to(&guest, "udp:evil.example:80", 5000) == -EPERM && lookups == 4);
    CHECK(
        strstr(guest.last_error, "udp:evil.example:80 is udp:169.254.169.254:80 now, which is not granted"));
    deinit(&guest);
}

static void *interrupt_soon(void *guest)
{
    usleep(50000);
    wbpf_guest_interrupt(guest);
    return NULL;
}

/* A guest that is told to end, or has ended, waits for no lookup. */
static void test_interrupted_lookup(void)
{
    wbpf_guest guest;
    pthread_t thread;
    atomic_store(&may_end, false);
    atomic_store(&ended, 0);
    init(&guest);
    CHECK(pthread_create(&thread, NULL, interrupt_soon, &guest) == 0);
    CHECK(connect_to(&guest, "udp:slow.example:53", -1) == -EINTR);
    pthread_join(thread, NULL);
    deinit(&guest);
    CHECK(ended == 0);
    atomic_store(&may_end, true);
    while (!ended)
        usleep(1000);
    usleep(20000); /* it frees what nobody wants */
}

static void test_addresses(void)
{
    static const struct {
        const char *pattern, *address;
        bool matches;
    } all[] = {
        {"tcp:a.example:80", "tcp:A.EXAMPLE:80", true},
        {"tcp:a.example:80", "tcp:a.example:81", false},
        {"tcp:a.example:80", "udp:a.example:80", false},
        {"tcp:*.example:80", "tcp:a.b.example:80", true},
        {"tcp:*.example:80", "tcp:example:80", false},
        {"tcp:*.example:80", "tcp:aexample:80", false},
        {"tcp:*.1:80", "tcp:10.0.0.1:80", false},
        {"tcp:*:80", "tcp:[2001:db8::1]:80", true},
        {"tcp:[::1]:*", "tcp:[0:0:0:0:0:0:0:1]:80", true},
        {"tcp:127.0.0.1:*", "tcp:[::ffff:127.0.0.1]:80", true},
        {"unix:/run/*", "unix:/run/a.sock", true},
        {"unix:/run/*", "unix:/run/a/b.sock", false},
        {"unix:/run/*", "unix:/run/", false},
        {"unix:/run/a", "unix:/run/a", true},
        {"unix:/run/a", "unix:/run/ab", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct address pattern, address;
        CHECK(address_parse(all[i].pattern, strlen(all[i].pattern), true, &pattern) == 0);
        CHECK(address_parse(all[i].address, strlen(all[i].address), false, &address) == 0);
        CHECK(address_matches(&address, &pattern) == all[i].matches);
    }
    /* a NUL is no end */
    struct address address;
    CHECK(address_parse("tcp:a\0b:80", 10, false, &address) == -EINVAL);
    CHECK(address_parse("unix:/a\0b", 9, false, &address) == -EINVAL);
}

int main(void)
{
    test_addresses();
    test_slow_names();
    test_interrupted_lookup();
    return 0;
}

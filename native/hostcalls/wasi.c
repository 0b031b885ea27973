/* Calls of WASI that Wasmtime's own don't serve: sleeping that wbpf_guest_stop() ends, and exit statuses
 * above 125. */
#include "guest.h"
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { CLOCK, FD_READ, FD_WRITE };
enum { SUBSCRIPTION_BYTES = 48, EVENT_BYTES = 32, MAX_SUBSCRIPTIONS = 1024 };
enum { WASI_EFAULT = 21, WASI_EINVAL = 28 };

struct subscription {
    uint64_t user;
    uint8_t tag, padding[7];
    uint32_t clock_or_fd, padding2;
    uint64_t timeout_ns, precision_ns;
    uint16_t flags; /* 1: a time, not a span */
    uint16_t padding3[3];
};

struct event {
    uint64_t user;
    uint16_t error;
    uint8_t tag, padding[5];
    uint64_t bytes;
    uint16_t flags, padding2[3];
};

_Static_assert(sizeof(struct subscription) == SUBSCRIPTION_BYTES, "layout of WASI");
_Static_assert(sizeof(struct event) == EVENT_BYTES, "layout of WASI");

/* When it is over, by our clock. */
static uint64_t end_of(const struct subscription *one, uint64_t now_ns)
{
    struct timespec wall;
    uint64_t clock_ns = now_ns, left_ns = one->timeout_ns;
    if (one->flags & 1) {
        if (one->clock_or_fd == 0) {
            clock_gettime(CLOCK_REALTIME, &wall);
            clock_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
        }
        left_ns = one->timeout_ns > clock_ns ? one->timeout_ns - clock_ns : 0;
    }
    return left_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + left_ns;
}

/* Files are always ready; our standard input is if it says so. */
static bool is_ready(const struct subscription *one)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return one->tag != CLOCK && (one->clock_or_fd != 0 || poll(&input, 1, 0) != 0);
}

static uint32_t find_ready(const uint8_t *in, uint8_t *out, uint32_t count, uint64_t start_ns,
                           uint64_t *next_ns)
{
    uint32_t found = 0;
    uint64_t now_ns = monotonic_ns();
    *next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct subscription one;
        memcpy(&one, in + (size_t)i * sizeof one, sizeof one);
        uint64_t end_ns = one.tag == CLOCK ? end_of(&one, start_ns) : now_ns + 10000000;
        if (one.tag == CLOCK && one.flags & 1)
            end_ns = end_of(&one, now_ns);
        if (one.tag == CLOCK ? end_ns > now_ns : !is_ready(&one)) {
            *next_ns = end_ns < *next_ns ? end_ns : *next_ns;
            continue;
        }
        struct event event = {.user = one.user, .tag = one.tag, .bytes = one.tag == CLOCK ? 0 : 1};
        memcpy(out + (size_t)found++ * sizeof event, &event, sizeof event);
    }
    return found;
}

static wasm_trap_t *poll_oneoff(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t size)
{
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    uint32_t count = (uint32_t)values[2].i32;
    bool fits = count > 0 && count <= MAX_SUBSCRIPTIONS;
    const uint8_t *in = guest_range(guest, (uint32_t)values[0].i32, fits ? count * SUBSCRIPTION_BYTES : 0);
    uint8_t *out = guest_range(guest, (uint32_t)values[1].i32, fits ? count * EVENT_BYTES : 0);
    uint8_t *number = guest_range(guest, (uint32_t)values[3].i32, 4);
    if (!fits || !in || !out || !number) {
        values[0].i32 = fits ? WASI_EFAULT : WASI_EINVAL;
        return NULL;
    }
    uint64_t start_ns = monotonic_ns(), next_ns;
    uint32_t found;
    while ((found = find_ready(in, out, count, start_ns, &next_ns)) == 0 &&
           !atomic_load(&guest->is_stopped)) {
        uint64_t now_ns = monotonic_ns();
        uint64_t left_ms = next_ns > now_ns ? (next_ns - now_ns + 999999) / 1000000 : 0;
        if (guest_sleep(guest, left_ms < 1000000 ? (int)left_ms : 1000000) < 0)
            break;
    }
    memcpy(number, &found, sizeof found);
    values[0].i32 = 0;
    return NULL;
}

/* main's -1 is 255, as for any process. */
static wasm_trap_t *proc_exit(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t size)
{
    static const char why[] = "exit";
    wbpf_guest *guest = env;
    (void)caller;
    (void)size;
    guest->has_exited = true;
    guest->exit_status = values[0].i32 & 255;
    return wasmtime.wasmtime_trap_new(why, sizeof why - 1);
}

int guest_link_wasi(wbpf_guest *guest, char *why)
{
    static const char *const modules[] = {"wasi_snapshot_preview1", "wasi_unstable"};
    int error = guest_define(guest, modules[0], "poll_oneoff", "iiii", "i", poll_oneoff, guest, why);
    for (int i = 0; !error && i < 2; i++)
        error = guest_define(guest, modules[i], "proc_exit", "i", "", proc_exit, guest, why);
    return error;
}

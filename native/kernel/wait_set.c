/* Waiting for several rings, and descriptors beside them. Perf buffers tell only once that they have records:
 * who waits asks them all first. Rings in user space have a word that changes instead of a descriptor. */
#include "maps/maps.h"
#include "ring.h"
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A record that was reserved and is not written yet makes a ring readable: look again so often. */
#define BUSY_NS 50000
/* What killed writers left is looked for so often. */
#define REAP_MS 1000
/* Where a kernel (before 5.16) or sandbox has no waiting for several words: the first is waited for, the
 * others are looked at so often; so are descriptors beside words. */
#define SLICE_MS   10
#define WORDS_MOST 128 /* FUTEX_WAITV_MAX */
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct waited_word { /* struct futex_waitv */
    uint64_t value, address;
    uint32_t flags, reserved;
};

struct member {
    const wbpf_ring_reader *ring; /* NULL: a descriptor */
    uint32_t tag;
    wbpf_user_map *shared; /* NULL: the kernel's */
    int fd;
    uint32_t events;
};

struct wbpf_wait_set {
    int epoll_fd, wake_fd;
    struct member *members;
    uint32_t count, room, turn, shared; /* how many are in user space */
    uint32_t wakes;
    bool has_no_waitv;
};

int wbpf_wait_set_create(wbpf_wait_set **out)
{
    wbpf_wait_set *set = calloc(1, sizeof *set);
    if (!set)
        return -ENOMEM;
    set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    set->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (set->epoll_fd < 0 || set->wake_fd < 0 ||
        epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, set->wake_fd, &event) != 0) {
        int error = -errno;
        wbpf_wait_set_destroy(set);
        return error;
    }
    *out = set;
    return 0;
}

void wbpf_wait_set_destroy(wbpf_wait_set *set)
{
    if (set->epoll_fd >= 0)
        close(set->epoll_fd);
    if (set->wake_fd >= 0)
        close(set->wake_fd);
    free(set->members);
    free(set);
}

static bool is_mixed(const wbpf_wait_set *set, bool is_shared)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].ring && !set->members[i].shared == is_shared)
            return true;
    return false;
}

static int add(wbpf_wait_set *set, struct member member)
{
    if (member.ring && is_mixed(set, member.shared))
        return -EINVAL;
    if (set->count == set->room) {
        uint32_t room = set->room ? 2 * set->room : 8;
        struct member *grown = realloc(set->members, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        set->members = grown;
        set->room = room;
    }
    struct epoll_event event = {.events = member.events};
    if (!member.shared && epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, member.fd, &event) != 0)
        return -errno;
    set->shared += member.shared != NULL;
    set->members[set->count++] = member;
    return 0;
}

int wbpf_wait_set_add(wbpf_wait_set *set, const wbpf_ring_reader *ring, uint32_t tag)
{
    return add(set, (struct member){ring, tag, NULL, ring->poll_fd, EPOLLIN});
}

int wbpf_wait_set_add_shared(wbpf_wait_set *set, const wbpf_ring_reader *ring, wbpf_user_map *map,
                             uint32_t tag)
{
    return add(set, (struct member){ring, tag, map, -1, 0});
}

int wbpf_wait_set_add_fd(wbpf_wait_set *set, int fd, uint32_t events, uint32_t tag)
{
    return add(set, (struct member){NULL, tag, NULL, fd, events});
}

static void remove_member(wbpf_wait_set *set, uint32_t at)
{
    if (!set->members[at].shared)
        epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, set->members[at].fd, NULL);
    set->shared -= set->members[at].shared != NULL;
    set->members[at] = set->members[--set->count];
}

void wbpf_wait_set_remove(wbpf_wait_set *set, const wbpf_ring_reader *ring)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].ring == ring)
            return remove_member(set, i);
}

void wbpf_wait_set_remove_fd(wbpf_wait_set *set, int fd)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (!set->members[i].ring && set->members[i].fd == fd)
            return remove_member(set, i);
}

static bool is_pending(const struct member *member)
{
    if (member->ring)
        return wbpf_ring_pending(member->ring);
    struct pollfd one = {.fd = member->fd, .events = (short)member->events};
    return poll(&one, 1, 0) > 0;
}

static uint32_t find_ready(wbpf_wait_set *set, uint32_t *tags, uint32_t max)
{
    uint32_t found = 0, first = set->count ? set->turn % set->count : 0;
    for (uint32_t i = 0; i < set->count && found < max; i++) {
        uint32_t at = (first + i) % set->count;
        if (!is_pending(&set->members[at]))
            continue;
        tags[found++] = set->members[at].tag;
        set->turn = at + 1;
    }
    return found;
}

static bool has_ready(const wbpf_wait_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (is_pending(&set->members[i]))
            return true;
    return false;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec after_ms(int64_t ms, bool from_now)
{
    struct timespec time = {0};
    if (from_now)
        clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += (long)(ms % 1000) * 1000000;
    time.tv_sec += (time_t)(ms / 1000 + time.tv_nsec / 1000000000);
    time.tv_nsec %= 1000000000;
    return time;
}

/* Until a word changes, or for so long. */
static void wait_for_words(wbpf_wait_set *set, struct waited_word *words, uint32_t count, int64_t ms)
{
    if (!set->has_no_waitv && count <= WORDS_MOST) {
        struct timespec end = after_ms(ms, true);
        long result = syscall(SYS_futex_waitv, words, count, 0, &end, CLOCK_MONOTONIC);
        set->has_no_waitv = result < 0 && (errno == ENOSYS || errno == EPERM);
        if (!set->has_no_waitv)
            return;
    }
    struct timespec slice = after_ms(ms < SLICE_MS ? ms : SLICE_MS, false);
    syscall(SYS_futex, words[1].address, FUTEX_WAIT, (uint32_t)words[1].value, &slice, NULL, 0);
}

/* Sleep until one of the rings in user space may have something; `wakes`: before it was found that none has.
 */
static void sleep_on_words(wbpf_wait_set *set, uint32_t wakes, int64_t ms)
{
    enum { SHARED_32_BITS = 2 }; /* FUTEX_32 */
    struct waited_word few[8], *words = few;
    uint32_t seen;
    if (set->shared + 1 > 8 && !(words = calloc(set->shared + 1, sizeof *words)))
        return;
    if (set->shared < set->count && ms > SLICE_MS)
        ms = SLICE_MS;
    words[0] = (struct waited_word){wakes, (uintptr_t)&set->wakes, SHARED_32_BITS, 0};
    uint32_t count = 1;
    for (uint32_t i = 0; i < set->count; i++) {
        if (!set->members[i].shared)
            continue;
        const uint32_t *word = wbpf_shared_ring_arm(set->members[i].shared, &seen);
        words[count++] = (struct waited_word){seen, (uintptr_t)word, SHARED_32_BITS, 0};
    }
    if (!has_ready(set))
        wait_for_words(set, words, count, ms);
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].shared)
            wbpf_shared_ring_disarm(set->members[i].shared);
    if (words != few)
        free(words);
}

static void reap(wbpf_wait_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].shared)
            wbpf_shared_ring_reap(set->members[i].shared);
}

int wbpf_wait_set_wait(wbpf_wait_set *set, int timeout_ms, uint32_t *tags, uint32_t max)
{
    int64_t end = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    struct epoll_event events[16];
    int64_t reap_at = now_ms() + REAP_MS;
    for (;;) {
        uint32_t wakes = __atomic_load_n(&set->wakes, __ATOMIC_SEQ_CST);
        uint32_t found = find_ready(set, tags, max);
        uint64_t woken;
        if (found || read(set->wake_fd, &woken, sizeof woken) == sizeof woken)
            return (int)found;
        int64_t left = timeout_ms < 0 ? -1 : end - now_ms();
        if (timeout_ms >= 0 && left <= 0)
            return 0;
        if (set->shared) {
            sleep_on_words(set, wakes, left < 0 || left > REAP_MS ? REAP_MS : left);
            if (now_ms() >= reap_at) {
                reap(set);
                reap_at = now_ms() + REAP_MS;
            }
            continue;
        }
        int ready = epoll_wait(set->epoll_fd, events, 16, (int)left);
        if (ready < 0)
            return errno == EINTR ? 0 : -errno;
        if (ready > 0 && (found = find_ready(set, tags, max)) != 0)
            return (int)found;
        if (ready > 0)
            nanosleep(&(struct timespec){.tv_nsec = BUSY_NS}, NULL);
    }
}

void wbpf_wait_set_wake(wbpf_wait_set *set)
{
    const uint64_t one = 1;
    (void)!write(set->wake_fd, &one, sizeof one);
    __atomic_fetch_add(&set->wakes, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &set->wakes, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

int wbpf_wait_set_fd(const wbpf_wait_set *set)
{
    return set->epoll_fd;
}

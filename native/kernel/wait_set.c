/* Waiting for several rings. Perf buffers tell only once that they have records: who waits asks them all
 * first. */
#include "ring.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A record that was reserved and is not written yet makes a ring readable: look again so often. */
#define BUSY_NS 50000

struct member {
    const wbpf_ring_reader *ring;
    uint32_t tag;
};

struct wbpf_wait_set {
    int epoll_fd, wake_fd;
    struct member *members;
    uint32_t count, room, turn;
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

int wbpf_wait_set_add(wbpf_wait_set *set, const wbpf_ring_reader *ring, uint32_t tag)
{
    if (set->count == set->room) {
        uint32_t room = set->room ? 2 * set->room : 8;
        struct member *grown = realloc(set->members, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        set->members = grown;
        set->room = room;
    }
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, ring->poll_fd, &event) != 0)
        return -errno;
    set->members[set->count++] = (struct member){ring, tag};
    return 0;
}

void wbpf_wait_set_remove(wbpf_wait_set *set, const wbpf_ring_reader *ring)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->members[i].ring != ring)
            continue;
        epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, ring->poll_fd, NULL);
        set->members[i] = set->members[--set->count];
        return;
    }
}

static uint32_t find_ready(wbpf_wait_set *set, uint32_t *tags, uint32_t max)
{
    uint32_t found = 0, first = set->count ? set->turn % set->count : 0;
    for (uint32_t i = 0; i < set->count && found < max; i++) {
        uint32_t at = (first + i) % set->count;
        if (!wbpf_ring_pending(set->members[at].ring))
            continue;
        tags[found++] = set->members[at].tag;
        set->turn = at + 1;
    }
    return found;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int wbpf_wait_set_wait(wbpf_wait_set *set, int timeout_ms, uint32_t *tags, uint32_t max)
{
    int64_t end = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    struct epoll_event events[16];
    for (;;) {
        uint32_t found = find_ready(set, tags, max);
        uint64_t woken;
        if (found || read(set->wake_fd, &woken, sizeof woken) == sizeof woken)
            return (int)found;
        int64_t left = timeout_ms < 0 ? -1 : end - now_ms();
        if (timeout_ms >= 0 && left <= 0)
            return 0;
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
}

int wbpf_wait_set_fd(const wbpf_wait_set *set)
{
    return set->epoll_fd;
}

/* Names to addresses, in bounded time. */
#include "guest.h"
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct lookup {
    _Atomic int users; /* the guest and the thread; who is last frees it */
    struct address address;
    int done_fd; /* readable when the rest is there */
    _Atomic bool is_done;
    int error;
    struct addrinfo *found;
};

void lookup_drop(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->users, 1) > 1)
        return;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    if (lookup->done_fd >= 0)
        close(lookup->done_fd);
    free(lookup);
}

const struct addrinfo *lookup_found(const struct lookup *lookup)
{
    return lookup->found;
}

static void *resolve(void *data)
{
    struct lookup *lookup = data;
    const uint64_t one = 1;
    char port[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = lookup->address.kind == 't' ? SOCK_STREAM : SOCK_DGRAM,
                             .ai_flags = AI_NUMERICSERV | (lookup->address.is_number ? AI_NUMERICHOST : 0)};
    snprintf(port, sizeof port, "%u", lookup->address.port);
    lookup->error = getaddrinfo(lookup->address.where, port, &hints, &lookup->found);
    atomic_store(&lookup->is_done, true);
    (void)!write(lookup->done_fd, &one, sizeof one);
    lookup_drop(lookup);
    return NULL;
}

/* The host's signals are for its own threads. */
static int start(struct lookup *lookup)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, resolve, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        atomic_fetch_sub(&lookup->users, 1);
    else
        pthread_detach(thread);
    return -error;
}

/* Whether no earlier lookup is under way. */
static bool is_free(wbpf_guest *guest)
{
    struct lookup *before = guest->lookup;
    if (before && !atomic_load(&before->is_done)) {
        wbpf_guest_refuse(guest, false, "%s is still being looked up", before->address.where);
        return false;
    }
    if (before)
        lookup_drop(before);
    guest->lookup = NULL;
    return true;
}

int lookup_run(wbpf_guest *guest, const struct address *address, uint64_t end_ns, struct lookup **out)
{
    if (!address->is_number && !is_free(guest))
        return -EBUSY;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return -ENOMEM;
    lookup->users = 2;
    lookup->address = *address;
    lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = lookup->done_fd < 0 ? -errno : 0;
    if (error)
        atomic_fetch_sub(&lookup->users, 1);
    else if (address->is_number) /* takes no time */
        resolve(lookup);
    else
        error = start(lookup);
    if (!error)
        error = guest_wait_for_fd(guest, lookup->done_fd, EPOLLIN, end_ns);
    if (error == -EAGAIN || error == -EINTR) {
        guest->lookup = lookup;
        if (error == -EAGAIN)
            wbpf_guest_refuse(guest, false, "%s could not be looked up in time", address->where);
        return error == -EAGAIN ? -ETIMEDOUT : error;
    }
    if (!error && atomic_load(&lookup->is_done) && lookup->error) {
        wbpf_guest_refuse(guest, false, "%s: %s", address->where, gai_strerror(lookup->error));
        error = -ENOENT;
    }
    if (error)
        lookup_drop(lookup);
    else
        *out = lookup;
    return error;
}

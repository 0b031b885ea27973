/* SIGBUS in mappings of segments: zeros instead of the end of the process. */
#include "cut.h"
#include "internal.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Never freed, so that the handler can walk the list without a lock; one without a base may be used again. */
struct watched_mapping {
    uintptr_t base, end;
    bool cut;
    struct watched_mapping *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched_mapping *all;
static struct sigaction before; /* what was there when our handler was installed */

/* mmap is no more than a system call, so it may be called here. The rest of the mapping is replaced too: what
 * was cut was cut at the end. */
static bool fill(uintptr_t at)
{
    for (struct watched_mapping *m = load_acquire(&all); m; m = load_acquire(&m->next)) {
        uintptr_t base = load_acquire(&m->base), end = load_acquire(&m->end);
        if (!base || at < base || at >= end || base != load_acquire(&m->base))
            continue;
        uintptr_t page = at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        store_release(&m->cut, true);
        return mmap((void *)page, end - page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
    }
    return false;
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    int error = errno;
    bool filled = info->si_code == BUS_ADRERR && fill((uintptr_t)info->si_addr);
    errno = error;
    if (filled)
        return;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signal_number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signal_number);
    else
        signal(SIGBUS, SIG_DFL); /* the access is tried again, and ends the process */
}

/* Once: who installs another handler later passes on to ours, and a ring of handlers would never end. */
static void install(void)
{
    static bool installed;
    struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    if (installed || sigaction(SIGBUS, NULL, &before) != 0)
        return;
    installed = sigaction(SIGBUS, &ours, NULL) == 0;
}

struct watched_mapping *mapping_watch(const uint8_t *base, size_t bytes)
{
    pthread_mutex_lock(&lock);
    install();
    struct watched_mapping *m = all;
    while (m && m->base)
        m = m->next;
    bool fresh = !m;
    if (fresh)
        m = calloc(1, sizeof *m);
    if (m) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        m->cut = false;
        store_release(&m->end, (uintptr_t)base + (bytes + page - 1) / page * page);
        store_release(&m->base, (uintptr_t)base);
    }
    if (m && fresh) {
        m->next = all;
        store_release(&all, m);
    }
    pthread_mutex_unlock(&lock);
    return m;
}

void mapping_unwatch(struct watched_mapping *watched)
{
    pthread_mutex_lock(&lock);
    store_release(&watched->base, 0);
    store_release(&watched->end, 0);
    pthread_mutex_unlock(&lock);
}

bool mapping_was_cut(const struct watched_mapping *watched)
{
    return load_acquire(&watched->cut);
}

#include "user/links.h"
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 1024

/* What a thread is doing; the last one is shared by all threads that found no other. */
struct walker {
    _Alignas(64) uint64_t walks; /* odd: in a list. Of the shared one: how many are */
    uint64_t missed;
    uint32_t taken;
};

static struct walker walkers[THREADS_MOST + 1];
static struct walker *const shared_walker = &walkers[THREADS_MOST];
static __thread struct walker *mine;
static __thread uint32_t inside;
static pthread_key_t leaving;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_barrier;

/* ---- threads ---- */

static void leave_for_good(void *walker)
{
    mine = shared_walker;
    __atomic_store_n(&((struct walker *)walker)->taken, 0, __ATOMIC_RELEASE);
}

static void begin(void)
{
    pthread_key_create(&leaving, leave_for_good);
    have_barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

static struct walker *claim(void)
{
    for (uint32_t i = 0; i < THREADS_MOST; i++) {
        uint32_t none = 0;
        if (__atomic_compare_exchange_n(&walkers[i].taken, &none, 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            pthread_setspecific(leaving, &walkers[i]);
            return mine = &walkers[i];
        }
    }
    return mine = shared_walker;
}

static void enter(struct walker *walker)
{
    if (walker == shared_walker)
        __atomic_fetch_add(&walker->walks, 1, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n(&walker->walks, walker->walks + 1, __ATOMIC_RELAXED);
    if (!have_barrier)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void leave(struct walker *walker)
{
    if (walker == shared_walker)
        __atomic_fetch_sub(&walker->walks, 1, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n(&walker->walks, walker->walks + 1, __ATOMIC_RELEASE);
}

bool wbpf_links_run(struct wbpf_link_node *const *list, void *context, size_t bytes,
                    const struct wbpf_stack_start *start)
{
    struct walker *walker = mine ? mine : claim();
    if (inside) {
        __atomic_fetch_add(&walker->missed, 1, __ATOMIC_RELAXED);
        return false;
    }
    int error = errno;
    inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    enter(walker);
    for (const struct wbpf_link_node *node = __atomic_load_n(list, __ATOMIC_ACQUIRE); node;
         node = __atomic_load_n(&node->next, __ATOMIC_ACQUIRE)) {
        struct wbpf_link *link = node->link;
        wbpf_user_run run = {
            .context = context, .context_bytes = bytes, .cookie = link->cookie, .start = start};
        if (*link->live && wbpf_user_program_run(link->program, &run) != 0)
            __atomic_fetch_add(&link->stopped, 1, __ATOMIC_RELAXED);
    }
    leave(walker);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    inside = 0;
    errno = error;
    return true;
}

bool wbpf_links_are_plain(void)
{
    pthread_once(&once, begin);
    return leaving < 32; /* else pthread_setspecific() may call malloc() */
}

bool wbpf_links_running(void)
{
    return inside != 0;
}

void wbpf_links_wait(void)
{
    static const struct timespec pause = {.tv_nsec = 50000};
    if (have_barrier)
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < THREADS_MOST; i++) {
        uint64_t seen = __atomic_load_n(&walkers[i].walks, __ATOMIC_ACQUIRE);
        while (seen & 1 && __atomic_load_n(&walkers[i].walks, __ATOMIC_ACQUIRE) == seen)
            nanosleep(&pause, NULL);
    }
    while (__atomic_load_n(&shared_walker->walks, __ATOMIC_ACQUIRE))
        nanosleep(&pause, NULL);
}

void wbpf_links_miss(void)
{
    __atomic_fetch_add(&shared_walker->missed, 1, __ATOMIC_RELAXED);
}

uint64_t wbpf_links_missed(void)
{
    uint64_t missed = 0;
    for (uint32_t i = 0; i <= THREADS_MOST; i++)
        missed += __atomic_load_n(&walkers[i].missed, __ATOMIC_RELAXED);
    return missed;
}

void wbpf_links_forget(void)
{
    for (uint32_t i = 0; i <= THREADS_MOST; i++)
        if (&walkers[i] != mine)
            walkers[i] = (struct walker){.taken = i < THREADS_MOST ? 0 : 1};
    pthread_once(&once, begin);
    have_barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* ---- links ---- */

int wbpf_link_init(struct wbpf_link *link, const wbpf_user_program *program, uint64_t cookie)
{
    pthread_once(&once, begin);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -errno;
    if (madvise(page, 4096, MADV_WIPEONFORK) < 0) {
        int error = -errno;
        munmap(page, 4096);
        return error;
    }
    *link = (struct wbpf_link){.program = program, .cookie = cookie, .live = page};
    *link->live = 1;
    return 0;
}

void wbpf_link_deinit(struct wbpf_link *link)
{
    munmap(link->live, 4096);
}

void wbpf_links_add(struct wbpf_link_node **list, struct wbpf_link_node *node, struct wbpf_link *link)
{
    node->link = link;
    node->next = *list;
    __atomic_store_n(list, node, __ATOMIC_RELEASE);
}

void wbpf_links_remove(struct wbpf_link_node **list, const struct wbpf_link *link)
{
    while (*list && (*list)->link != link)
        list = &(*list)->next;
    if (*list)
        __atomic_store_n(list, (*list)->next, __ATOMIC_RELEASE);
}

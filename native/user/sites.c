/*
 * Attaching programs to probe sites.
 *
 * Each site has a list of what is attached to it, which threads walk without locks. Each thread has a word
 * that is odd while it walks. Detaching takes the entry out of the list, sees to it that all threads see that
 * (membarrier), and waits until each word was even or has changed.
 */
#include "user/sites.h"
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 1024
#define FUEL         (1 << 20) /* jumps back of one run, where their number was not proved to be limited */

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
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool have_barrier;

struct wbpf_site_link {
    const wbpf_user_program *program;
    uint32_t node_count;
    uint64_t stopped;
    uint32_t *live; /* a page that is all zero in children */
    struct node *nodes;
};

/* A link at a site. */
struct node {
    struct node *next;
    struct wbpf_site_link *link;
};

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

static void fire(struct wbpf_site *site, const struct wbpf_probe_context *context)
{
    struct walker *walker = mine ? mine : claim();
    if (inside) {
        __atomic_fetch_add(&walker->missed, 1, __ATOMIC_RELAXED);
        return;
    }
    inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    enter(walker);
    for (const struct node *node = __atomic_load_n((struct node **)&site->attached, __ATOMIC_ACQUIRE); node;
         node = __atomic_load_n(&node->next, __ATOMIC_ACQUIRE)) {
        struct wbpf_site_link *link = node->link;
        wbpf_user_run run = {
            .context = (void *)(uintptr_t)context, .context_bytes = sizeof *context, .fuel = FUEL};
        if (*link->live && wbpf_user_program_run(link->program, &run) != 0)
            __atomic_fetch_add(&link->stopped, 1, __ATOMIC_RELAXED);
    }
    leave(walker);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    inside = 0;
}

static void wait_for_walkers(void)
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

uint64_t wbpf_sites_missed(void)
{
    uint64_t missed = 0;
    for (uint32_t i = 0; i <= THREADS_MOST; i++)
        missed += __atomic_load_n(&walkers[i].missed, __ATOMIC_RELAXED);
    return missed;
}

void wbpf_sites_forget(void)
{
    for (uint32_t i = 0; i <= THREADS_MOST; i++)
        if (&walkers[i] != mine)
            walkers[i] = (struct walker){.taken = i < THREADS_MOST ? 0 : 1};
    pthread_mutex_init(&mutex, NULL);
    pthread_once(&once, begin);
    have_barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* ---- modules ---- */

/* What is done with the sites of each loaded module: while it runs, none is unloaded. */
struct visit {
    const char *name; /* NULL: all */
    void (*at)(struct wbpf_site *site, struct visit *visit);
    struct wbpf_site_link *link;
    uint32_t sites;
};

static void visit_section(const unsigned char *words, struct visit *visit)
{
    int64_t distance[2];
    memcpy(distance, words, sizeof distance);
    struct wbpf_site *site = (struct wbpf_site *)(uintptr_t)(words + distance[0]);
    struct wbpf_site *end = (struct wbpf_site *)(uintptr_t)(words + sizeof *distance + distance[1]);
    for (; site < end; site++)
        if (!visit->name || strcmp(site->name, visit->name) == 0)
            visit->at(site, visit);
}

/* Each object file brings the same note: the first one will do. */
static bool visit_notes(const unsigned char *at, size_t bytes, struct visit *visit)
{
    while (bytes >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, at, sizeof note);
        size_t name = (note.n_namesz + 3u) & ~(size_t)3,
               whole = sizeof note + name + ((note.n_descsz + 3u) & ~3u);
        if (whole > bytes)
            return false;
        if (note.n_type == WBPF_SITES_NOTE_TYPE && note.n_namesz == 5 && note.n_descsz == 16 &&
            memcmp(at + sizeof note, "wbpf", 5) == 0) {
            visit_section(at + sizeof note + name, visit);
            return true;
        }
        at += whole;
        bytes -= whole;
    }
    return false;
}

static int visit_module(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_NOTE &&
            visit_notes((const unsigned char *)(uintptr_t)(info->dlpi_addr + header->p_vaddr),
                        header->p_memsz, context))
            break;
    }
    return 0;
}

/* ---- links ---- */

static void count_site(struct wbpf_site *site, struct visit *visit)
{
    (void)site;
    visit->sites++;
}

static void attach_site(struct wbpf_site *site, struct visit *visit)
{
    struct wbpf_site_link *link = visit->link;
    if (visit->sites == link->node_count) /* a module was loaded meanwhile */
        return;
    struct node *node = &link->nodes[visit->sites++];
    node->link = link;
    node->next = site->attached;
    __atomic_store_n(&site->attached, node, __ATOMIC_RELEASE);
    __atomic_store_n(&site->fire, fire, __ATOMIC_RELEASE);
    __atomic_fetch_or(&site->state, WBPF_SITE_ATTACHED, __ATOMIC_RELEASE);
}

static void detach_site(struct wbpf_site *site, struct visit *visit)
{
    struct node **at = (struct node **)&site->attached;
    while (*at && (*at)->link != visit->link)
        at = &(*at)->next;
    if (*at)
        __atomic_store_n(at, (*at)->next, __ATOMIC_RELEASE);
    if (!site->attached)
        __atomic_fetch_and(&site->state, ~WBPF_SITE_ATTACHED, __ATOMIC_RELEASE);
}

int wbpf_site_link_create(const char *name, const wbpf_user_program *program, wbpf_site_link **out,
                          uint32_t *sites)
{
    pthread_once(&once, begin);
    struct visit visit = {.name = name, .at = count_site};
    dl_iterate_phdr(visit_module, &visit);
    if (!visit.sites)
        return -ENOENT;
    wbpf_site_link *link = calloc(1, sizeof *link);
    struct node *nodes = calloc(visit.sites, sizeof *nodes);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!link || !nodes || page == MAP_FAILED || madvise(page, 4096, MADV_WIPEONFORK) < 0) {
        int error = link && nodes ? -errno : -ENOMEM;
        if (page != MAP_FAILED)
            munmap(page, 4096);
        free(nodes);
        free(link);
        return error;
    }
    *link = (wbpf_site_link){.program = program, .node_count = visit.sites, .live = page, .nodes = nodes};
    *link->live = 1;
    visit = (struct visit){.name = name, .at = attach_site, .link = link};
    pthread_mutex_lock(&mutex);
    dl_iterate_phdr(visit_module, &visit);
    pthread_mutex_unlock(&mutex);
    *sites = visit.sites;
    *out = link;
    return 0;
}

void wbpf_site_link_destroy(wbpf_site_link *link, uint64_t *stopped)
{
    struct visit visit = {.at = detach_site, .link = link};
    pthread_mutex_lock(&mutex);
    dl_iterate_phdr(visit_module, &visit);
    pthread_mutex_unlock(&mutex);
    wait_for_walkers();
    *stopped = link->stopped;
    munmap(link->live, 4096);
    free(link->nodes);
    free(link);
}

/* Attaching programs to probe sites. */
#include "user/sites.h"
#include "user/links.h"
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Sites that were registered; they are never removed. */
struct registered {
    struct wbpf_site site;
    struct registered *next;
    char name[];
};
static struct registered *all_registered;

struct wbpf_site_link {
    struct wbpf_link link;
    uint32_t node_count;
    struct wbpf_link_node *nodes;
};

static void fire(struct wbpf_site *site, const struct wbpf_probe_context *context)
{
    const uint64_t *frame = __builtin_frame_address(0); /* where the caller's is kept */
    struct wbpf_stack_start start = {(uint64_t)(uintptr_t)__builtin_return_address(0), frame[0]};
    wbpf_links_run((struct wbpf_link_node *const *)&site->attached, (void *)(uintptr_t)context,
                   sizeof *context, &start);
}

void wbpf_sites_forget(void)
{
    pthread_mutex_init(&mutex, NULL);
}

/* ---- modules ---- */

/* What is done with the sites of each loaded module, while which none is unloaded, and with registered ones.
 */
struct visit {
    const char *name; /* NULL: all */
    void (*at)(struct wbpf_site *site, struct visit *visit);
    struct wbpf_site_link *link;
    uint32_t sites;
    void (*each)(const struct wbpf_site *site, void *context);
    void *context;
};

static void visit_site(struct wbpf_site *site, struct visit *visit)
{
    if (!visit->name || strcmp(site->name, visit->name) == 0)
        visit->at(site, visit);
}

static void visit_section(const unsigned char *words, struct visit *visit)
{
    int64_t distance[2];
    memcpy(distance, words, sizeof distance);
    struct wbpf_site *site = (struct wbpf_site *)(uintptr_t)(words + distance[0]);
    struct wbpf_site *end = (struct wbpf_site *)(uintptr_t)(words + sizeof *distance + distance[1]);
    for (; site < end; site++)
        visit_site(site, visit);
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

static void visit_all(struct visit *visit)
{
    dl_iterate_phdr(visit_module, visit);
    struct registered *one = __atomic_load_n(&all_registered, __ATOMIC_ACQUIRE);
    for (; one; one = one->next)
        visit_site(&one->site, visit);
}

/* ---- registered sites ---- */

static struct registered *find_registered(const char *name)
{
    struct registered *one = __atomic_load_n(&all_registered, __ATOMIC_ACQUIRE);
    while (one && strcmp(one->name, name) != 0)
        one = one->next;
    return one;
}

int wbpf_site_register(const char *name, struct wbpf_site **out)
{
    pthread_mutex_lock(&mutex);
    struct registered *one = find_registered(name);
    if (!one && (one = calloc(1, sizeof *one + strlen(name) + 1)) != NULL) {
        strcpy(one->name, name);
        one->site.name = one->name;
        one->next = all_registered;
        __atomic_store_n(&all_registered, one, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&mutex);
    *out = one ? &one->site : NULL;
    return one ? 0 : -ENOMEM;
}

static void tell_site(struct wbpf_site *site, struct visit *visit)
{
    visit->each(site, visit->context);
}

void wbpf_for_each_site(void (*each)(const struct wbpf_site *site, void *context), void *context)
{
    struct visit visit = {.at = tell_site, .each = each, .context = context};
    visit_all(&visit);
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
    wbpf_links_add((struct wbpf_link_node **)&site->attached, &link->nodes[visit->sites++], &link->link);
    __atomic_store_n(&site->fire, fire, __ATOMIC_RELEASE);
    __atomic_fetch_or(&site->state, WBPF_SITE_ATTACHED, __ATOMIC_RELEASE);
}

static void detach_site(struct wbpf_site *site, struct visit *visit)
{
    wbpf_links_remove((struct wbpf_link_node **)&site->attached, &visit->link->link);
    if (!site->attached)
        __atomic_fetch_and(&site->state, ~WBPF_SITE_ATTACHED, __ATOMIC_RELEASE);
}

int wbpf_site_link_create(const char *name, const wbpf_user_program *program, uint64_t cookie,
                          wbpf_site_link **out, uint32_t *sites)
{
    struct visit visit = {.name = name, .at = count_site};
    visit_all(&visit);
    if (!visit.sites)
        return -ENOENT;
    wbpf_site_link *link = calloc(1, sizeof *link);
    struct wbpf_link_node *nodes = calloc(visit.sites, sizeof *nodes);
    int error = link && nodes ? wbpf_link_init(&link->link, program, cookie) : -ENOMEM;
    if (error) {
        free(nodes);
        free(link);
        return error;
    }
    link->node_count = visit.sites;
    link->nodes = nodes;
    visit = (struct visit){.name = name, .at = attach_site, .link = link};
    pthread_mutex_lock(&mutex);
    visit_all(&visit);
    pthread_mutex_unlock(&mutex);
    *sites = visit.sites;
    *out = link;
    return 0;
}

void wbpf_site_link_destroy(wbpf_site_link *link, uint64_t *stopped)
{
    struct visit visit = {.at = detach_site, .link = link};
    pthread_mutex_lock(&mutex);
    visit_all(&visit);
    pthread_mutex_unlock(&mutex);
    wbpf_links_wait();
    *stopped = link->link.stopped;
    wbpf_link_deinit(&link->link);
    free(link->nodes);
    free(link);
}

/* Which processes are members of which hosts, and what is taken back from dead ones.
 *
 * A member holds the POSIX lock on the byte of its process slot in the pool's lock file: the kernel frees it
 * when the process dies, and it means the same in every pid namespace. POSIX locks belong to a process and go
 * when it closes any descriptor of the file, so one descriptor serves all pools of that file here, and this
 * file remembers which bytes are its own: a process can't see its own locks. */
#include "pool/internal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct lock_file {
    struct lock_file *next;
    dev_t device;
    ino_t inode;
    int fd;
    uint32_t users;
    uint32_t fork_epoch;
    bool mine[POOL_PROCESSES];
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* guards the list and membership_renew */
static struct lock_file *lock_files;
static uint32_t fork_epoch = 1;

static void before_fork(void)
{
    pthread_mutex_lock(&registry);
}
static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&registry);
}
static void after_fork_in_child(void)
{
    fork_epoch++;
    pthread_mutex_unlock(&registry);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

uint32_t pool_fork_epoch(void)
{
    return load_relaxed(&fork_epoch);
}

/* ---- the lock file ---- */

static struct lock_file *open_lock_file(const char *path, const struct stat *status)
{
    struct lock_file *file = lock_files;
    while (file && (file->device != status->st_dev || file->inode != status->st_ino))
        file = file->next;
    if (file)
        return file;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    file = calloc(1, sizeof *file);
    if (!file) {
        close(fd);
        return NULL;
    }
    *file = (struct lock_file){lock_files, status->st_dev, status->st_ino, fd, 0, fork_epoch, {false}};
    lock_files = file;
    return file;
}

int lock_file_open(wbpf_pool *pool)
{
    char path[320];
    int error = pool_companion_path(pool->path, "lock", path);
    if (error)
        return error;
    struct stat status;
    if (stat(path, &status) != 0)
        return pool_fail(-errno, "%s: %s", path, strerror(errno));
    if (status.st_mode & S_IWOTH)
        return pool_fail(-EACCES, "%s: everybody may write it, so the locks on it mean nothing", path);
    pthread_mutex_lock(&registry);
    pool->lock_file = open_lock_file(path, &status);
    if (pool->lock_file)
        pool->lock_file->users++;
    else
        error = pool_fail(-errno, "%s: %s", path, strerror(errno));
    pthread_mutex_unlock(&registry);
    return error;
}

void lock_file_close(wbpf_pool *pool)
{
    struct lock_file *file = pool->lock_file;
    pthread_mutex_lock(&registry);
    if (--file->users == 0) {
        struct lock_file **at = &lock_files;
        while (*at != file)
            at = &(*at)->next;
        *at = file->next;
        close(file->fd);
        free(file);
    }
    pthread_mutex_unlock(&registry);
}

/* A child of fork inherits the list, not the locks. */
static void forget_parent(struct lock_file *file)
{
    if (file->fork_epoch != fork_epoch) {
        memset(file->mine, 0, sizeof file->mine);
        file->fork_epoch = fork_epoch;
    }
}

static bool lock_byte(struct lock_file *file, uint32_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(file->fd, F_SETLK, &lock) == 0;
}

static bool is_alive(struct lock_file *file, uint32_t byte)
{
    forget_parent(file);
    if (file->mine[byte])
        return true;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(file->fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- with the pool's lock and the registry's held ---- */

static void reclaim_objects(wbpf_pool *pool, uint32_t process, wbpf_pool_reclaimed *reclaimed)
{
    for (uint32_t i = 0; i < pool->header->entry_count; i++) {
        struct pool_entry *entry = &pool->entries[i];
        if (entry->state != ENTRY_CREATING || entry->creator != process + 1)
            continue;
        references_forget(pool, entry);
        directory_unlink(pool, entry);
        directory_free(pool, entry);
        reclaimed->objects++;
    }
}

static void reclaim_process(wbpf_pool *pool, uint32_t process, wbpf_pool_reclaimed *reclaimed)
{
    reclaim_objects(pool, process, reclaimed);
    for (uint32_t place = 0; place < pool->header->held_per_process; place++)
        if (pool->held[(uint64_t)process * pool->header->held_per_process + place]) {
            references_drop(pool, process, place);
            reclaimed->references++;
        }
    reclaimed->processes++;
    store_release(&pool->header->processes[process].host, 0);
}

static void reclaim_dead(wbpf_pool *pool, wbpf_pool_reclaimed *reclaimed)
{
    for (uint32_t i = 0; i < POOL_PROCESSES; i++)
        if (pool->header->processes[i].host && !is_alive(pool->lock_file, i))
            reclaim_process(pool, i, reclaimed);
}

static bool host_alive(wbpf_pool *pool, uint32_t index)
{
    for (uint32_t i = 0; i < POOL_PROCESSES; i++)
        if (load_acquire(&pool->header->processes[i].host) == index + 1 && is_alive(pool->lock_file, i))
            return true;
    return false;
}

/* A process slot for this process: its index, or -EUSERS. */
static int take_slot(wbpf_pool *pool, uint32_t host_index)
{
    struct lock_file *file = pool->lock_file;
    forget_parent(file);
    for (uint32_t i = 0; i < POOL_PROCESSES; i++) {
        if (file->mine[i] || !lock_byte(file, i, F_WRLCK))
            continue;
        file->mine[i] = true;
        struct pool_process *process = &pool->header->processes[i];
        wbpf_pool_reclaimed ignored = {0};
        if (process->host) /* whoever had it is dead */
            reclaim_process(pool, i, &ignored);
        process->pid = (uint32_t)getpid();
        store_release(&process->host, host_index + 1);
        return (int)i;
    }
    return -EUSERS;
}

static void settle(wbpf_pool_host *host, int slot)
{
    host->process = (uint32_t)slot;
    host->held_hint = 0;
    store_relaxed(&host->fork_epoch, fork_epoch);
}

/* ---- for the rest ---- */

void membership_reclaim(wbpf_pool *pool, wbpf_pool_reclaimed *reclaimed)
{
    pthread_mutex_lock(&registry);
    reclaim_dead(pool, reclaimed);
    pthread_mutex_unlock(&registry);
}

int wbpf_pool_reclaim(wbpf_pool *pool, wbpf_pool_reclaimed *reclaimed)
{
    *reclaimed = (wbpf_pool_reclaimed){0};
    int error = pool_lock(pool);
    if (error)
        return error;
    membership_reclaim(pool, reclaimed);
    pool_unlock(pool);
    return 0;
}

int membership_renew(wbpf_pool_host *host)
{
    int error = pool_lock(host->pool);
    if (error)
        return error;
    pthread_mutex_lock(&registry);
    int slot = 0;
    if (host->fork_epoch != fork_epoch) { /* another thread may have been faster */
        slot = take_slot(host->pool, host->index);
        if (slot >= 0)
            settle(host, slot);
    }
    pthread_mutex_unlock(&registry);
    pool_unlock(host->pool);
    return slot < 0 ? slot : 0;
}

static int find_host(const wbpf_pool *pool, const char *name)
{
    for (uint32_t i = 0; i < pool->header->host_count; i++)
        if (strcmp(pool->header->hosts[i].name, name) == 0)
            return (int)i;
    return pool_fail(-ENOENT, "%s: the pool has no host '%s'", pool->path, name);
}

static int enter(wbpf_pool_host *host)
{
    wbpf_pool *pool = host->pool;
    uint64_t incarnation;
    int error = pool_random(&incarnation, sizeof incarnation);
    if (!error)
        error = pool_lock(pool);
    if (error)
        return error;
    pthread_mutex_lock(&registry);
    bool first = !host_alive(pool, host->index);
    int slot = take_slot(pool, host->index);
    if (slot >= 0) {
        settle(host, slot);
        if (first) { /* what the host's cache held went with its last process */
            host_file_clear(host);
            store_release(&host->record->incarnation, incarnation | 1);
        }
    }
    pthread_mutex_unlock(&registry);
    pool_unlock(pool);
    return slot >= 0 ? 0 : pool_fail(slot, "%s: all %d process slots are taken", pool->path, POOL_PROCESSES);
}

int wbpf_pool_join(wbpf_pool *pool, const char *name, wbpf_pool_host **out)
{
    int index = find_host(pool, name);
    if (index < 0)
        return index;
    wbpf_pool_host *host = calloc(1, sizeof *host);
    if (!host)
        return pool_fail(-ENOMEM, "no memory");
    host->pool = pool;
    host->index = (uint32_t)index;
    host->record = &pool->header->hosts[index];
    int error = host_file_open(pool, host);
    if (!error) {
        error = enter(host);
        if (error)
            munmap(host->file, host->mapped_bytes);
    }
    if (error) {
        free(host);
        return error;
    }
    *out = host;
    return 0;
}

void wbpf_pool_leave(wbpf_pool_host *host)
{
    wbpf_pool *pool = host->pool;
    if (host->fork_epoch == pool_fork_epoch() && pool_lock(pool) == 0) {
        wbpf_pool_reclaimed ignored = {0};
        pthread_mutex_lock(&registry);
        reclaim_process(pool, host->process, &ignored);
        pool->lock_file->mine[host->process] = false;
        lock_byte(pool->lock_file, host->process, F_UNLCK);
        pthread_mutex_unlock(&registry);
        pool_unlock(pool);
    }
    munmap(host->file, host->mapped_bytes);
    free(host);
}

static void describe(wbpf_pool *pool, uint32_t index, wbpf_pool_host_info *info)
{
    const struct pool_host_record *record = &pool->header->hosts[index];
    *info = (wbpf_pool_host_info){.host_id = record->host_id,
                                  .incarnation = load_acquire(&record->incarnation),
                                  .virtual_ns = load_relaxed(&record->clock_ns),
                                  .access_class = record->access_class};
    memcpy(info->name, record->name, sizeof info->name);
    pthread_mutex_lock(&registry);
    info->alive = host_alive(pool, index);
    pthread_mutex_unlock(&registry);
}

int wbpf_pool_get_host_info(wbpf_pool *pool, uint32_t index, wbpf_pool_host_info *info)
{
    if (index >= pool->header->host_count)
        return -ENOENT;
    describe(pool, index, info);
    return 0;
}

void wbpf_pool_get_own_info(wbpf_pool_host *host, wbpf_pool_host_info *info)
{
    describe(host->pool, host->index, info);
}

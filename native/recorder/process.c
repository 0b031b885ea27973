/*
 * Process slots. A process lives as long as it holds the POSIX lock on its byte of the lock file: freed by
 * the kernel at death of any kind, right across pid namespaces, not inherited by children.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct flock byte_lock(uint32_t slot)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
}

/*
 * Closing any descriptor of a file drops all of the process's POSIX locks on it: recorder and readers of one
 * process share one descriptor a lock file. The guard holds the pid, so that a fork in the middle leaves it
 * free in the child.
 */
#define OPEN_LOCKS 64
static struct {
    uint64_t device, inode;
    int fd;
    unsigned users;
} open_locks[OPEN_LOCKS];
static uint32_t open_locks_guard;

static void guard_take(void)
{
    uint32_t self = (uint32_t)getpid(), seen = 0;
    while (!__atomic_compare_exchange_n(&open_locks_guard, &seen, self, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        if (seen == self)
            sched_yield();
        seen = seen == self ? 0 : seen;
    }
}

static bool fd_is(int fd, uint64_t device, uint64_t inode)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int share_lock_fd(int fd, const struct stat *st)
{
    int unused = -1, shared = fd;
    guard_take();
    for (int i = 0; i < OPEN_LOCKS; i++) {
        if (!open_locks[i].users) {
            unused = unused < 0 ? i : unused;
        } else if (open_locks[i].device == st->st_dev && open_locks[i].inode == st->st_ino &&
                   fd_is(open_locks[i].fd, st->st_dev, st->st_ino)) {
            open_locks[i].users++;
            shared = open_locks[i].fd;
            unused = -1;
            break;
        }
    }
    if (unused >= 0) {
        open_locks[unused].device = st->st_dev;
        open_locks[unused].inode = st->st_ino;
        open_locks[unused].fd = fd;
        open_locks[unused].users = 1;
    }
    store_release(&open_locks_guard, 0);
    return shared;
}

static int shared_lock_fd(const struct stat *st)
{
    int fd = -1;
    guard_take();
    for (int i = 0; i < OPEN_LOCKS && fd < 0; i++)
        if (open_locks[i].users && open_locks[i].device == st->st_dev && open_locks[i].inode == st->st_ino &&
            fd_is(open_locks[i].fd, st->st_dev, st->st_ino)) {
            open_locks[i].users++;
            fd = open_locks[i].fd;
        }
    store_release(&open_locks_guard, 0);
    return fd;
}

void process_close_lock(int fd)
{
    bool last = true;
    guard_take();
    for (int i = 0; i < OPEN_LOCKS; i++)
        if (open_locks[i].users && open_locks[i].fd == fd)
            last = --open_locks[i].users == 0;
    store_release(&open_locks_guard, 0);
    if (last && fd >= 0)
        close(fd);
}

int process_open_lock(const char *segment_path, bool create)
{
    char path[4096];
    struct stat st;
    size_t n = strlen(segment_path);
    if (n < 4 || n >= sizeof path - 2 || strcmp(segment_path + n - 4, ".seg") != 0)
        return -ENOENT;
    memcpy(path, segment_path, n - 4);
    strcpy(path + n - 4, ".lock");
    int fd = stat(path, &st) == 0 ? shared_lock_fd(&st) : -1;
    if (fd >= 0)
        return fd;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0660);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0)
        return -errno;
    return share_lock_fd(fd, &st);
}

static void remember_lock(struct process *self)
{
    struct stat st;
    if (fstat(self->lock_fd, &st) == 0) {
        self->lock_device = st.st_dev;
        self->lock_inode = st.st_ino;
    }
}

int process_join(const struct mapping *map, const char *segment_path, struct process *out)
{
    int fd = process_open_lock(segment_path, true);
    if (fd < 0)
        return fd;
    for (uint32_t i = 0; i < map->header->process_count; i++) {
        struct wbpf_process_slot *slot = &map->processes[i];
        struct flock lock = byte_lock(i);
        /* The kernel grants a process its own lock again: another copy of this library in it may hold the
         * slot. */
        if (load_relaxed(&slot->generation) && slot->pid == (uint32_t)getpid())
            continue;
        if (fcntl(fd, F_SETLK, &lock) != 0)
            continue;
        uint32_t generation = load_relaxed(&slot->generation) + 1;
        generation += generation == 0;
        slot->pid = (uint32_t)getpid();
        slot->uid = getuid();
        slot->started_unix_ns = clock_unix_ns();
        FILE *comm = fopen("/proc/self/comm", "re");
        memset(slot->name, 0, sizeof slot->name);
        if (comm) {
            if (fgets(slot->name, sizeof slot->name, comm))
                slot->name[strcspn(slot->name, "\n")] = 0;
            fclose(comm);
        }
        store_release(&slot->generation, generation);
        *out = (struct process){
            .lock_fd = fd, .slot = i, .generation = generation, .owner = owner_of(i, generation)};
        remember_lock(out);
        return 0;
    }
    process_close_lock(fd);
    return -EUSERS;
}

void process_leave(const struct mapping *map, struct process *self)
{
    struct flock lock = byte_lock(self->slot);
    lock.l_type = F_UNLCK;
    map->processes[self->slot].pid = 0;
    fcntl(self->lock_fd, F_SETLK, &lock);
    process_close_lock(self->lock_fd);
}

int process_check(const struct mapping *map, const char *segment_path, struct process *self)
{
    struct flock lock = byte_lock(self->slot);
    if (!fd_is(self->lock_fd, self->lock_device, self->lock_inode)) {
        int fd = process_open_lock(segment_path, true);
        if (fd < 0)
            return fd;
        self->lock_fd = fd;
        remember_lock(self);
    }
    if (fcntl(self->lock_fd, F_SETLK, &lock) != 0)
        return -ESTALE;
    return load_acquire(&map->processes[self->slot].generation) == self->generation ? 0 : -ESTALE;
}

/* One writer at a time in the areas that all processes append to. Gives up after 10 ms: the holder may be
 * stopped. */
bool process_lock_area(const struct mapping *map, const struct process *self, bool take)
{
    struct flock lock = byte_lock(map->header->process_count);
    lock.l_type = take ? F_WRLCK : F_UNLCK;
    for (int tries = 0; fcntl(self->lock_fd, F_SETLK, &lock) != 0; tries++) {
        if (!take || tries == 100)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return true;
}

bool process_alive(const struct mapping *map, int lock_fd, const struct process *self, uint64_t owner)
{
    uint32_t slot = (uint32_t)owner - 1, generation = (uint32_t)(owner >> 32);
    if (self && owner == self->owner)
        return true;
    if (slot >= map->header->process_count || load_acquire(&map->processes[slot].generation) != generation)
        return false;
    if (self && slot == self->slot)
        return false; /* our slot, an earlier process */
    if (lock_fd < 0)
        return false;
    struct flock lock = byte_lock(slot);
    if (fcntl(lock_fd, F_GETLK, &lock) != 0)
        return true; /* can't tell: leave it alone */
    /* A copy of this library in this very process: the kernel does not report our own locks. */
    return lock.l_type != F_UNLCK || map->processes[slot].pid == (uint32_t)getpid();
}

/*
 * Process slots. A process lives as long as it holds the lock on its byte of the lock file.
 *
 * The lock belongs to an open file description that has no descriptor any more: only a mapping of the file
 * keeps it, and that mapping is not inherited. So the kernel frees it when the process dies by whatever means
 * or becomes another program, whatever children it has (MADV_DONTFORK), and no closing of descriptors by the
 * application can free it before. Pids are never asked: they differ between containers and are used again.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOLD_BYTES 4096

static struct flock byte_lock(uint32_t slot)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
}

static int open_lock_file(const char *segment_path, int flags)
{
    char path[4096];
    size_t n = strlen(segment_path);
    if (n < 4 || n >= sizeof path - 2 || strcmp(segment_path + n - 4, ".seg") != 0)
        return -ENOENT;
    memcpy(path, segment_path, n - 4);
    strcpy(path + n - 4, ".lock");
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0660);
    return fd < 0 ? -errno : fd;
}

/* ---- who is alive ---- */

void census_end(struct census *census)
{
    if (census->fd >= 0)
        close(census->fd);
    *census = census_of(census->segment_path);
}

static bool open_census(struct census *census, const struct process *self)
{
    if (census->fd != CENSUS_NOT_OPEN)
        return census->fd >= 0;
    census->fd = open_lock_file(census->segment_path, O_RDONLY);
    struct stat st;
    if (census->fd >= 0 && self &&
        (fstat(census->fd, &st) != 0 || st.st_dev != self->lock_device || st.st_ino != self->lock_inode)) {
        close(census->fd); /* somebody put another file in its place: it says nothing about our segment */
        census->fd = -ESTALE;
    }
    return census->fd >= 0;
}

bool process_alive(const struct mapping *map, struct census *census, const struct process *self,
                   uint64_t owner)
{
    uint32_t slot = (uint32_t)owner - 1, generation = (uint32_t)(owner >> 32);
    if (self && owner == self->owner)
        return true;
    if (slot >= map->fixed.process_count || load_acquire(&map->processes[slot].generation) != generation)
        return false;
    if (self && slot == self->slot)
        return false; /* our slot, an earlier process */
    for (unsigned i = 0; i < census->alive_count; i++)
        if (census->alive[i] == owner)
            return true;
    struct flock lock = byte_lock(slot);
    bool alive;
    if (open_census(census, self)) /* asked for another description: our own locks are told too */
        alive = fcntl(census->fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
    else
        alive = self || census->fd != -ENOENT; /* who has no lock file is a copy; else leave it alone */
    if (alive && census->alive_count < sizeof census->alive / sizeof *census->alive)
        census->alive[census->alive_count++] = owner;
    return alive;
}

/* ---- being alive ---- */

static void fill_slot(struct wbpf_process_slot *slot)
{
    /* No stdio: after a raw clone, its locks may be held by threads that are not there. */
    char name[sizeof slot->name] = "";
    int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    name[n > 0 ? n : 0] = 0;
    name[strcspn(name, "\n")] = 0;
    memcpy(slot->name, name, sizeof name);
    slot->pid = (uint32_t)getpid();
    slot->uid = getuid();
    slot->pid_namespace = pid_namespace_of("/proc/self/ns/pid");
    store_relaxed(&slot->slot_offset, 0); /* of another process */
    slot->started_unix_ns = clock_unix_ns();
}

static bool take_byte(int fd, uint32_t slot)
{
    struct flock lock = byte_lock(slot);
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* The mapping that keeps the lock, on a byte that nobody has: of a slot never used, as long as there are any,
 * so that what the dead have written can still be told from what others write. Two copies of this library in
 * one process have a description each. */
static int hold_free_byte(const struct mapping *map, int fd, void **hold, uint32_t *slot)
{
    *hold = mmap(NULL, HOLD_BYTES, PROT_NONE, MAP_SHARED, fd, 0);
    if (*hold == MAP_FAILED)
        return -errno;
    int error = madvise(*hold, HOLD_BYTES, MADV_DONTFORK) == 0 ? -EUSERS : -errno;
    for (int used = 0; error == -EUSERS && used < 2; used++)
        for (uint32_t i = 0; i < map->fixed.process_count; i++)
            if ((load_relaxed(&map->processes[i].generation) != 0) == used && take_byte(fd, i)) {
                *slot = i;
                return 0;
            }
    munmap(*hold, HOLD_BYTES);
    return error;
}

int process_join(const struct mapping *map, const char *segment_path, struct process *out)
{
    struct stat st = {0};
    int fd = open_lock_file(segment_path, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    *out = (struct process){.segment_path = segment_path, .pid = getpid()};
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid())
        fchmod(fd, 0660); /* as the segment, whatever the umask */
    int error = hold_free_byte(map, fd, &out->hold, &out->slot);
    close(fd); /* soon: a fork of another thread in between would keep us alive as long as its child lives */
    if (error)
        return error;
    struct wbpf_process_slot *slot = &map->processes[out->slot];
    uint32_t generation = load_relaxed(&slot->generation) + 1;
    out->generation = generation += generation == 0;
    out->owner = owner_of(out->slot, generation);
    out->lock_device = st.st_dev;
    out->lock_inode = st.st_ino;
    fill_slot(slot);
    store_release(&slot->generation, generation);
    return 0;
}

void process_leave(const struct mapping *map, struct process *self)
{
    if (self->pid != getpid())
        return; /* a forked child, which has no hold */
    map->processes[self->slot].pid = 0;
    munmap(self->hold, HOLD_BYTES);
}

int process_check(const struct mapping *map, const struct process *self)
{
    return load_acquire(&map->processes[self->slot].generation) == self->generation ? 0 : -ESTALE;
}

/* What is made in a host's folder: its incarnation, its doorbell, segments. */
#include "opening.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int host_make_directory(const char *path)
{
    struct stat st;
    if (mkdir(path, 0770) != 0 && errno != EEXIST)
        return recorder_fail(-errno,
                             "cannot make the folder %s: %s; set WBPF_DIR to a place you may write to", path,
                             strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return recorder_fail(-ENOTDIR, "%s is not a folder; set WBPF_DIR", path);
    if (st.st_mode & S_IWOTH)
        return recorder_fail(-EACCES, "everybody may write to the folder %s: chmod o-w it, or set WBPF_DIR",
                             path);
    return 0;
}

/* A small file that exactly one process makes: written aside, then linked into place. */
static int make_once(const char *path, const void *content, size_t bytes)
{
    char aside[PATH_BYTES + 32];
    snprintf(aside, sizeof aside, "%s.%d.%llx", path, getpid(), (unsigned long long)random_u64());
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0)
        return -errno;
    int error = fchmod(fd, 0660) != 0 || write(fd, content, bytes) != (ssize_t)bytes ? -EIO : 0;
    close(fd);
    if (!error && link(aside, path) != 0 && errno != EEXIST)
        error = -errno;
    unlink(aside);
    return error;
}

uint64_t host_incarnation(const char *directory)
{
    char path[PATH_BYTES];
    uint64_t value = random_u64();
    snprintf(path, sizeof path, "%.4000s/incarnation", directory);
    if (access(path, F_OK) != 0)
        make_once(path, &value, sizeof value);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        if (read(fd, &value, sizeof value) != sizeof value)
            value = 1;
        close(fd);
    }
    return value;
}

uint32_t *host_map_doorbell(const char *directory)
{
    char path[PATH_BYTES];
    static const uint8_t zeros[4096];
    snprintf(path, sizeof path, "%.4000s/doorbell", directory);
    if (access(path, F_OK) != 0)
        make_once(path, zeros, sizeof zeros);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    void *bell = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= 4096)
        bell = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return bell == MAP_FAILED ? NULL : bell;
}

void wbpf_ring(uint32_t *bell)
{
    if (!bell)
        return;
    __atomic_fetch_add(bell, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, bell, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

int host_create_segment(const char *path, const struct layout_spec *spec)
{
    char aside[PATH_BYTES + 32], why[256] = "";
    snprintf(aside, sizeof aside, "%s.%d.%llx", path, getpid(), (unsigned long long)random_u64());
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0)
        return recorder_fail(-errno, "cannot make %s: %s", path, strerror(errno));
    int error = posix_fallocate(fd, 0, (off_t)spec->bytes);
    if (error) {
        recorder_fail(-error,
                      "no room for the segment %s: %s; ask for less with WBPF_SEGMENT_MB, or set WBPF_DIR",
                      path, strerror(error));
        error = -error;
    } else {
        fchmod(fd, 0660);
        uint8_t *base = mmap(NULL, spec->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED) {
            error = recorder_fail(-errno, "cannot map %s: %s", path, strerror(errno));
        } else {
            error = layout_initialise(base, spec, why);
            munmap(base, spec->bytes);
            if (error)
                recorder_fail(error, "cannot lay out %s: %s", path, why);
            else if (link(aside, path) != 0 && errno != EEXIST)
                error = recorder_fail(-errno, "cannot make %s: %s", path, strerror(errno));
        }
    }
    close(fd);
    unlink(aside);
    return error;
}

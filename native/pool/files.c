/* The files that a pool consists of: made with all their space, mapped whole; and what went wrong with them.
 */
#include "pool/internal.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define POPULATE_BYTES (1ull << 30) /* larger mappings fault in as they are used */

static _Thread_local char error_text[384];

int pool_fail(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return code;
}

const char *wbpf_pool_error(void)
{
    return error_text;
}

int pool_random(void *out, size_t bytes)
{
    return getrandom(out, bytes, 0) == (ssize_t)bytes
               ? 0
               : pool_fail(-EIO, "no random numbers: %s", strerror(errno));
}

bool pool_is_device(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISCHR(status.st_mode);
}

int pool_companion_path(const char *path, const char *suffix, char out[320])
{
    int length;
    if (pool_is_device(path))
        length = snprintf(out, 320, "/dev/shm/%s.%s", strrchr(path, '/') + 1, suffix);
    else
        length = snprintf(out, 320, "%s.%s", path, suffix);
    return length < 320 ? 0 : pool_fail(-ENAMETOOLONG, "%s: the path is too long", path);
}

int pool_make_file(const char *path, uint64_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0)
        return pool_fail(-errno, "%s: %s", path, strerror(errno));
    int error = fchmod(fd, 0660) ? errno : 0; /* whatever the umask */
    if (!error && bytes)
        error = posix_fallocate(fd, 0, (off_t)bytes);
    if (!error)
        return fd;
    close(fd);
    unlink(path);
    return pool_fail(-error, "%s: can't allocate %llu bytes: %s", path, (unsigned long long)bytes,
                     strerror(error));
}

int pool_map_descriptor(int fd, const char *path, uint64_t bytes, void **map)
{
    int populate = bytes <= POPULATE_BYTES ? MAP_POPULATE : 0;
    *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | populate, fd, 0);
    if (*map == MAP_FAILED)
        return pool_fail(-errno, "%s: can't map %llu bytes: %s", path, (unsigned long long)bytes,
                         strerror(errno));
    return 0;
}

/* A character device has no size of its own in stat: sysfs tells it. */
static uint64_t device_bytes(const struct stat *status)
{
    char path[96];
    unsigned long long bytes = 0;
    snprintf(path, sizeof path, "/sys/dev/char/%u:%u/size", (unsigned)(status->st_rdev >> 8 & 0xfff),
             (unsigned)((status->st_rdev & 0xff) | (status->st_rdev >> 12 & 0xfff00)));
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%llu", &bytes) != 1)
            bytes = 0;
        fclose(file);
    }
    return bytes;
}

int pool_map_file(const char *path, void **map, uint64_t *bytes)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return pool_fail(-errno, "%s: %s", path, strerror(errno));
    struct stat status;
    int error = fstat(fd, &status) ? -errno : 0;
    if (error)
        pool_fail(error, "%s: %s", path, strerror(-error));
    else if (status.st_mode & S_IWOTH)
        error = pool_fail(-EACCES, "%s: everybody may write it, so nothing in it can be trusted", path);
    else if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode))
        error = pool_fail(-EPROTO, "%s: neither a file nor a DAX device", path);
    if (!error) {
        *bytes = S_ISCHR(status.st_mode) ? device_bytes(&status) : (uint64_t)status.st_size;
        error = *bytes < sizeof(struct pool_host_file)
                    ? pool_fail(-EPROTO, "%s: too small to be a pool", path)
                    : pool_map_descriptor(fd, path, *bytes, map);
    }
    close(fd);
    return error;
}

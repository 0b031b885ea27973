/* Helpers that need no map; the table of all is looked up here. */
#include "user/helpers.h"
#include "user/direct.h"
#include "user/syscalls.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define HELPER(name)                                                                                         \
    static uint64_t name(struct wbpf_env UNUSED *env, uint64_t UNUSED r1, uint64_t UNUSED r2,                \
                         uint64_t UNUSED r3, uint64_t UNUSED r4, uint64_t UNUSED r5)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

HELPER(ktime_get_ns)
{
    return clock_ns(CLOCK_MONOTONIC);
}

HELPER(ktime_get_boot_ns)
{
    return clock_ns(CLOCK_BOOTTIME);
}

HELPER(ktime_get_coarse_ns)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

HELPER(ktime_get_tai_ns)
{
    return clock_ns(CLOCK_TAI);
}

HELPER(get_prandom_u32)
{
    static __thread uint64_t state;
    if (!state && getrandom(&state, sizeof state, GRND_NONBLOCK) < 0)
        state = clock_ns(CLOCK_MONOTONIC);
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

HELPER(get_current_comm)
{
    char name[16] = "";
    if (r2 < 1)
        return (uint64_t)-EINVAL;
    wbpf_current_name(name);
    size_t bytes = r2 < sizeof name ? r2 : sizeof name;
    memset((void *)(uintptr_t)r1, 0, r2);
    memcpy((void *)(uintptr_t)r1, name, bytes - 1);
    return 0;
}

HELPER(strncmp_bounded)
{
    return (uint64_t)(int64_t)strncmp((const char *)(uintptr_t)r1, (const char *)(uintptr_t)r3, (uint32_t)r2);
}

HELPER(get_smp_processor_id)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (uint64_t)cpu;
}

HELPER(get_numa_node_id)
{
    unsigned node = 0;
    return WBPF_DIRECT(SYS_getcpu, NULL, &node, NULL, 0) < 0 ? 0 : node;
}

HELPER(get_current_pid_tgid)
{
    return wbpf_current_ids();
}

HELPER(get_current_uid_gid)
{
    return wbpf_current_users();
}

HELPER(get_attach_cookie)
{
    return env->cookie;
}

/* In the numbers of this process's own namespace, if that is the one that a device and an inode name. The
 * kernel's own numbers of devices have 20 bits for the minor one. */
HELPER(get_ns_current_pid_tgid)
{
    uint64_t ids = wbpf_current_ids();
    uint32_t info[2] = {(uint32_t)ids, (uint32_t)(ids >> 32)}; /* struct bpf_pidns_info */
    struct stat st;
    memset((void *)(uintptr_t)r3, 0, r4);
    if (r4 != sizeof info)
        return (uint64_t)-EINVAL;
    if (WBPF_DIRECT(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &st, 0) < 0)
        return (uint64_t)-ENOENT;
    if (r1 != ((uint64_t)major(st.st_dev) << 20 | minor(st.st_dev)) || r2 != st.st_ino)
        return (uint64_t)-EINVAL;
    memcpy((void *)(uintptr_t)r3, info, sizeof info);
    return 0;
}

/* Of the cgroup (v2) that is `level` below the root and has this process in or below it; -1: its own. A
 * cgroup's id is its inode. 0: there is none. */
static uint64_t cgroup_id(int64_t level)
{
    static const char root[] = "/sys/fs/cgroup";
    char text[2048];
    struct stat st;
    long fd = WBPF_DIRECT(SYS_openat, AT_FDCWD, "/proc/self/cgroup", O_RDONLY | O_CLOEXEC, 0);
    long got = fd < 0 ? 0 : WBPF_DIRECT(SYS_read, fd, text + sizeof root, sizeof text - sizeof root - 1);
    if (fd >= 0)
        (void)WBPF_DIRECT(SYS_close, fd);
    text[sizeof root + (got > 0 ? (size_t)got : 0)] = 0;
    char *path =
        strncmp(text + sizeof root, "0::", 3) ? strstr(text + sizeof root, "\n0::") : text + sizeof root - 1;
    if (!path)
        return 0;
    path += 4;
    path[strcspn(path, "\n")] = 0;
    char *end = path;
    if (level < 0 || !path[1]) /* of the root there is nothing above */
        end = level > 0 ? NULL : path + strlen(path);
    for (int64_t i = 0; end && level >= 0 && i < level; i++)
        end = *end ? end + 1 + strcspn(end + 1, "/") : NULL;
    if (!end)
        return 0;
    *end = 0;
    path = memmove(path - (sizeof root - 1), root, sizeof root - 1);
    return WBPF_DIRECT(SYS_newfstatat, AT_FDCWD, path, &st, 0) < 0 ? 0 : st.st_ino;
}

HELPER(get_current_cgroup_id)
{
    return cgroup_id(-1);
}

HELPER(get_current_ancestor_cgroup_id)
{
    return (int32_t)r1 < 0 ? 0 : cgroup_id((int32_t)r1);
}

/* A load from the packet that is the context; negative: it is too short. */
HELPER(load_packet)
{
    uint64_t offset = r2, width = r3, value = 0;
    if (env->context_bytes < width || offset > env->context_bytes - width)
        return (uint64_t)-1;
    for (uint64_t i = 0; i < width; i++)
        value = value << 8 | *(const uint8_t *)(uintptr_t)(env->context + offset + i);
    return value;
}

static const struct {
    int32_t number;
    wbpf_helper function;
} table[] = {
    {-1, load_packet},
    {5, ktime_get_ns},
    {7, get_prandom_u32},
    {8, get_smp_processor_id},
    {42, get_numa_node_id},
    {14, get_current_pid_tgid},
    {15, get_current_uid_gid},
    {80, get_current_cgroup_id},
    {123, get_current_ancestor_cgroup_id},
    {16, get_current_comm},
    {182, strncmp_bounded},
    {125, ktime_get_boot_ns},
    {160, ktime_get_coarse_ns},
    {174, get_attach_cookie},
    {208, ktime_get_tai_ns},
    {120, get_ns_current_pid_tgid},
};

wbpf_helper wbpf_user_helper(int32_t number)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].number == number)
            return table[i].function;
    return wbpf_user_map_helper(number);
}

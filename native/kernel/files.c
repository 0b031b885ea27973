/* Descriptors that come from files and mounts: pins, iterators, tracefs, perf events. */
#include "bpf_syscall.h"
#include "kernel.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>

/* fsopen() and its like, kernel 5.2; glibc has them since 2.36. */
enum { FSCONFIG_CREATE = 6 };

int wbpf_pin(int fd, const char *path)
{
    union bpf_attr attr = {.pathname = (uintptr_t)path, .bpf_fd = (uint32_t)fd};
    return wbpf_bpf(BPF_OBJ_PIN, &attr);
}

int wbpf_pinned(const char *path)
{
    union bpf_attr attr = {.pathname = (uintptr_t)path};
    return wbpf_bpf(BPF_OBJ_GET, &attr);
}

int wbpf_iter_open(int link_fd)
{
    union bpf_attr attr = {.iter_create = {.link_fd = (uint32_t)link_fd}};
    return wbpf_bpf(BPF_ITER_CREATE, &attr);
}

static int mount_tracefs(void)
{
    int context = (int)syscall(SYS_fsopen, "tracefs", 1 /* close on exec */);
    if (context < 0)
        return -errno;
    int mount = -1;
    if (syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0) == 0)
        mount = (int)syscall(SYS_fsmount, context, 1 /* close on exec */, 0);
    int error = mount < 0 ? -errno : 0;
    close(context);
    return error ? error : mount;
}

int wbpf_tracefs_open(void)
{
    static const char *const usual[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};
    for (unsigned i = 0; i < 2; i++) {
        int folder = open(usual[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder >= 0 && faccessat(folder, "events", F_OK, 0) == 0)
            return folder;
        if (folder >= 0)
            close(folder);
    }
    return mount_tracefs();
}

int wbpf_perf_event_open(uint32_t type, uint64_t config, uint64_t frequency_hz, int pid, int cpu)
{
    struct perf_event_attr attr = {.type = type, .size = sizeof attr, .config = config};
    if (frequency_hz) {
        attr.freq = 1;
        attr.sample_freq = frequency_hz;
    } else {
        attr.sample_period = 1;
        attr.wakeup_events = 1;
    }
    int fd = (int)syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

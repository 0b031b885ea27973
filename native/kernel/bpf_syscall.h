/* bpf(2); 0 or more, or a negative errno. */
#ifndef WBPF_BPF_SYSCALL_H
#define WBPF_BPF_SYSCALL_H

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int wbpf_bpf(int command, union bpf_attr *attr)
{
    int result = (int)syscall(SYS_bpf, command, attr, sizeof *attr);
    return result < 0 ? -errno : result;
}

#endif

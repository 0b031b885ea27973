/*
 * Filters on process, command and cgroup, which `wbpf run --pid --comm --cgroup` sets before the program is loaded.
 * A filter that is not used costs nothing: the kernel removes its code.
 *
 *     if (wbpf_filtered())
 *         return 0;
 */
#ifndef WBPF_FILTER_BPF_H
#define WBPF_FILTER_BPF_H

#include <wbpf/program.bpf.h>

#define WBPF_FILTER_PID    1u
#define WBPF_FILTER_COMM   2u
#define WBPF_FILTER_CGROUP 4u

/* Set by the host, by this name. */
struct wbpf_filter {
    unsigned int flags; /* which of the others are in force */
    unsigned int pid;   /* of a process: what the kernel calls its tgid */
    unsigned long long cgroup; /* the id of a cgroup (v2): processes in it and below it are traced */
    unsigned int cgroup_level; /* how far below the root it is: 0 for the root itself */
    unsigned int reserved;
    char comm[16]; /* of the thread, padded with NUL */
};

const volatile struct wbpf_filter wbpf_filter = {};

/* Whether what runs on this processor is not to be traced. */
static __always_inline _Bool wbpf_filtered(void)
{
    if (wbpf_filter.flags & WBPF_FILTER_PID && bpf_get_current_pid_tgid() >> 32 != wbpf_filter.pid)
        return 1;
    if (wbpf_filter.flags & WBPF_FILTER_CGROUP &&
        bpf_get_current_ancestor_cgroup_id(wbpf_filter.cgroup_level) != wbpf_filter.cgroup)
        return 1;
    if (wbpf_filter.flags & WBPF_FILTER_COMM) {
        unsigned long long comm[2] = {};
        bpf_get_current_comm(comm, sizeof comm);
        const volatile unsigned long long *wanted = (const volatile unsigned long long *)wbpf_filter.comm;
        if (comm[0] != wanted[0] || comm[1] != wanted[1])
            return 1;
    }
    return 0;
}

#ifdef WBPF_VMLINUX_H
/* The same of another task: where programs trace who is woken, not who runs. With <wbpf/vmlinux.h> only. */
static __always_inline _Bool wbpf_filtered_task(struct task_struct *task)
{
    if (wbpf_filter.flags & WBPF_FILTER_PID && (unsigned int)BPF_CORE_READ(task, tgid) != wbpf_filter.pid)
        return 1;
    if (wbpf_filter.flags & WBPF_FILTER_CGROUP) {
        struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
        /* Up to the level of the cgroup that is wanted. */
        for (int i = 0; i < 32 && BPF_CORE_READ(cgroup, level) > (int)wbpf_filter.cgroup_level; i++)
            cgroup = (struct cgroup *)BPF_CORE_READ(cgroup, self.parent);
        if (BPF_CORE_READ(cgroup, kn, id) != wbpf_filter.cgroup)
            return 1;
    }
    if (wbpf_filter.flags & WBPF_FILTER_COMM) {
        unsigned long long comm[2] = {};
        bpf_core_read_str(comm, sizeof comm, &task->comm);
        const volatile unsigned long long *wanted = (const volatile unsigned long long *)wbpf_filter.comm;
        if (comm[0] != wanted[0] || comm[1] != wanted[1])
            return 1;
    }
    return 0;
}
#endif

#endif

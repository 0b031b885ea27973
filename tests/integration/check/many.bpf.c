/* A program for each thing that a kernel may have or lack. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct {
    int tgid;
    int tgidd;
};
struct no_such_struct {
    int field;
};
#pragma clang attribute pop

unsigned long long out;
const volatile int wanted = 0;

#define EMPTY(section, name, result)                                                                         \
    SEC(section)                                                                                              \
    int on_##name(void *context)                                                                                   \
    {                                                                                                         \
        return result;                                                                                        \
    }

EMPTY("fentry/do_nanosleep", fentry, 0)
EMPTY("fexit/do_nanosleep", fexit, 0)
EMPTY("fentry/do_nanosleeep", fentry_missing, 0)
EMPTY("fmod_ret/security_file_open", fmod_ret, 0)
EMPTY("lsm/file_open", lsm, 0)
EMPTY("lsm.s/file_open", lsm_sleepable, 0)
EMPTY("lsm/file_opn", lsm_missing, 0)
EMPTY("lsm_cgroup/socket_create", lsm_cgroup, 1)
EMPTY("tp_btf/sched_switch", tp_btf, 0)
EMPTY("tp_btf/sched_switchh", tp_btf_missing, 0)
EMPTY("raw_tp/sched_switch", raw_tp, 0)
EMPTY("raw_tp/sched_switsh", raw_tp_missing, 0)
EMPTY("tp/sched/sched_process_exec", tp, 0)
EMPTY("tp/sched/sched_process_exek", tp_missing, 0)
EMPTY("tp/shed/sched_process_exec", tp_category_missing, 0)
EMPTY("tp/syscalls/sys_enter_openat", tp_syscall, 0)
EMPTY("kprobe/do_nanosleep", kprobe, 0)
EMPTY("kprobe/do_nanosleeep", kprobe_missing, 0)
EMPTY("kprobe.multi/do_nanosl*", kprobe_multi, 0)
EMPTY("ksyscall/nanosleep", ksyscall, 0)
EMPTY("uprobe//proc/self/exe:main_no_such", uprobe_missing, 0)
EMPTY("uprobe//nonexistent/file:main", uprobe_file_missing, 0)
EMPTY("usdt//proc/self/exe:none:such", usdt_missing, 0)
EMPTY("iter/task", iter, 0)
EMPTY("iter/tsk", iter_missing, 0)
EMPTY("xdp", xdp, 2)
EMPTY("tc", tc, 0)
EMPTY("socket", socket_filter, 0)
EMPTY("cgroup/connect4", connect4, 1)
EMPTY("cgroup/recvmsg4", recvmsg4, 1)
EMPTY("cgroup_skb/egress", cgroup_skb, 1)
EMPTY("sockops", sockops, 1)
EMPTY("sk_lookup", sk_lookup, 1)
EMPTY("perf_event", perf_event, 0)
EMPTY("syscall", syscall_program, 0)
EMPTY("flow_dissector", flow_dissector, 0)

SEC("tp/sched/sched_process_exec")
int field_missing(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    out = BPF_CORE_READ(task, tgidd);
    return 0;
}

SEC("tp/sched/sched_process_exec")
int field_guarded(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    if (bpf_core_field_exists(task->tgidd))
        out = BPF_CORE_READ(task, tgidd);
    else
        out = BPF_CORE_READ(task, tgid);
    return 0;
}

SEC("tp/sched/sched_process_exec")
int type_missing(void *context)
{
    struct no_such_struct *one = (void *)bpf_get_current_task();
    out = BPF_CORE_READ(one, field);
    return 0;
}

static long (*const no_such_helper)(void) = (void *)4242;

SEC("tp/sched/sched_process_exec")
int helper_missing(void *context)
{
    out = no_such_helper();
    return 0;
}

SEC("tp/sched/sched_process_exec")
int helper_guarded(void *context)
{
    if (wanted)
        out = no_such_helper();
    return 0;
}

SEC("tc")
int helper_of_another_type(void *context)
{
    return bpf_override_return(context, 0);
}

SEC("xdp")
int helper_allowed(void *context)
{
    out = bpf_ktime_get_ns();
    return 2;
}

char LICENSE[] SEC("license") = "GPL";

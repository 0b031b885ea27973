/*
 * What the scheduler did: who left a core to whom; of some processes also who woke their threads, and when
 * they flushed something to a file. Times are those of the monotonic clock.
 */
#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

#define NO_WAKEUP 1
enum { SWITCH, WAKING, FLUSHED };

struct event {
    u64 mono_ns;
    u32 kind, cpu;
    u32 thread, process;             /* that leaves the core, is woken, or has flushed */
    u32 other_thread, other_process; /* that gets the core, or wakes; 0: a timer or nobody */
    u32 runnable, reserved;          /* it could go on */
};
WBPF_EVENT(event);

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 << 20);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, u32);
    __type(value, u32);
} processes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u32);
} in_timer SEC(".maps");

u64 refused;

static __always_inline bool ours(u32 process)
{
    return bpf_map_lookup_elem(&processes, &process) != NULL;
}

static __always_inline void note(const struct event *event)
{
    if (bpf_ringbuf_output(&events, (void *)event, sizeof *event, NO_WAKEUP))
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    struct event event = {
        .mono_ns = bpf_ktime_get_ns(),
        .kind = SWITCH,
        .cpu = bpf_get_smp_processor_id(),
        .thread = prev->pid,
        .process = prev->tgid,
        .other_thread = next->pid,
        .other_process = next->tgid,
        .runnable = preempt || !prev->__state,
    };
    note(&event);
    return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
    if (!ours(task->tgid))
        return 0;
    u32 zero = 0, *timer = bpf_map_lookup_elem(&in_timer, &zero);
    u64 waker = timer && *timer ? 0 : bpf_get_current_pid_tgid();
    struct event event = {
        .mono_ns = bpf_ktime_get_ns(),
        .kind = WAKING,
        .cpu = bpf_get_smp_processor_id(),
        .thread = task->pid,
        .process = task->tgid,
        .other_thread = (u32)waker,
        .other_process = waker >> 32,
    };
    note(&event);
    return 0;
}

static __always_inline int set_in_timer(u32 value)
{
    u32 zero = 0, *timer = bpf_map_lookup_elem(&in_timer, &zero);
    if (timer)
        *timer = value;
    return 0;
}

SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(on_timer)
{
    return set_in_timer(1);
}

SEC("tp_btf/hrtimer_expire_exit")
int BPF_PROG(on_timer_end)
{
    return set_in_timer(0);
}

static __always_inline int flushed(void)
{
    u64 who = bpf_get_current_pid_tgid();
    if (!ours(who >> 32))
        return 0;
    struct event event = {
        .mono_ns = bpf_ktime_get_ns(),
        .kind = FLUSHED,
        .cpu = bpf_get_smp_processor_id(),
        .thread = (u32)who,
        .process = who >> 32,
    };
    note(&event);
    return 0;
}

SEC("tp/syscalls/sys_exit_fsync")
int on_fsync(void *context)
{
    return flushed();
}

SEC("tp/syscalls/sys_exit_fdatasync")
int on_fdatasync(void *context)
{
    return flushed();
}

char LICENSE[] SEC("license") = "GPL";

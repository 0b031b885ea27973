#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

enum what { EXEC, EXIT };

struct process {
    u64 time;
    u64 duration;
    u32 pid;
    u32 ppid;
    enum what what;
    u8 exit_code;
    u8 signal;
    u8 reserved[2];
    char comm[16];
    char filename[128];
};
WBPF_EVENT(process);

const volatile u64 min_duration_ns;
u64 lost;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8192);
    __type(key, u32);
    __type(value, u64);
} started SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

static struct process *reserve(enum what what, u32 pid)
{
    struct process *process = bpf_ringbuf_reserve(&events, sizeof *process, 0);
    if (!process) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    __builtin_memset(process, 0, sizeof *process);
    process->time = bpf_ktime_get_ns();
    process->pid = pid;
    process->ppid = BPF_CORE_READ(task, real_parent, tgid);
    process->what = what;
    bpf_get_current_comm(process->comm, sizeof process->comm);
    return process;
}

SEC("tp/sched/sched_process_exec")
int on_exec(struct trace_event_raw_sched_process_exec *ctx)
{
    if (wbpf_filtered())
        return 0;
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 now = bpf_ktime_get_ns();
    bpf_map_update_elem(&started, &pid, &now, BPF_ANY);
    if (min_duration_ns)
        return 0;
    struct process *process = reserve(EXEC, pid);
    if (!process)
        return 0;
    u32 filename = ctx->__data_loc_filename & 0xffff;
    bpf_probe_read_kernel_str(process->filename, sizeof process->filename, (char *)ctx + filename);
    bpf_ringbuf_submit(process, 0);
    return 0;
}

SEC("tp/sched/sched_process_exit")
int on_exit(void *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    u32 pid = id >> 32;
    if (pid != (u32)id || wbpf_filtered()) /* a thread that is not the process's first */
        return 0;
    u64 now = bpf_ktime_get_ns(), duration = 0;
    u64 *start = bpf_map_lookup_elem(&started, &pid);
    if (start) {
        duration = now - *start;
        bpf_map_delete_elem(&started, &pid);
    }
    if (min_duration_ns && duration < min_duration_ns)
        return 0;
    struct process *process = reserve(EXIT, pid);
    if (!process)
        return 0;
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 code = BPF_CORE_READ(task, exit_code);
    process->duration = duration;
    process->exit_code = code >> 8;
    process->signal = code & 0x7f;
    bpf_ringbuf_submit(process, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

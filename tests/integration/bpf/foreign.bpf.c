/* What programs of other people have in them. */
#include <wbpf/vmlinux.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4);
    __uint(map_flags, BPF_F_RDONLY_PROG);
    __type(key, __u32);
    __type(value, __u64);
} settings SEC(".maps");

extern struct task_struct *bpf_task_from_pid(int pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
extern int bpf_nowhere(int number) __ksym __weak;

static __attribute__((noinline)) int with_task(int pid)
{
    struct task_struct *task = bpf_task_from_pid(pid);
    if (!task)
        return 1;
    bpf_task_release(task);
    return 2;
}

static __attribute__((noinline)) int plain(int number)
{
    return number + 1;
}

SEC("tp/syscalls/sys_enter_getpgid")
int beside_one_that_calls_the_kernel(struct trace_event_raw_sys_enter *ctx)
{
    return plain(ctx->args[0]);
}

SEC("?tp/syscalls/sys_enter_getpgid")
int calls_the_kernel(struct trace_event_raw_sys_enter *ctx)
{
    return with_task(ctx->args[0]);
}

SEC("tp/syscalls/sys_enter_getpgid")
int asks_first(void *ctx)
{
    return bpf_nowhere ? bpf_nowhere(1) : 7;
}

SEC("tp/syscalls/sys_enter_getpgid")
int reads_a_setting(void *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&settings, &key);
    return value ? *value : 9;
}

SEC("?tp/syscalls/sys_enter_getpgid")
int writes_a_setting(void *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&settings, &key);
    if (value)
        *value = 5;
    return 0;
}

SEC("?tp/syscalls/sys_enter_getpgid")
int updates_a_setting(void *ctx)
{
    __u32 key = 0;
    __u64 value = 1;
    return bpf_map_update_elem(&settings, &key, &value, 0);
}

/* What the kernel does not take. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("?raw_tp/sys_enter") int wild(__u64 *ctx)
{
    return *(int *)ctx[0];
}

SEC("?tp_btf/sched_swich") int misspelt(__u64 *ctx)
{
    return 0;
}

SEC("?xdp") int tame(struct xdp_md *ctx)
{
    return XDP_PASS;
}

struct task_struct {
    int tgid, no_such_member;
} __attribute__((preserve_access_index));

SEC("?raw_tp/sys_enter") int relocated(__u64 *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    int tgid = 0;
    bpf_probe_read_kernel(&tgid, sizeof tgid, &task->tgid);
    return tgid;
}

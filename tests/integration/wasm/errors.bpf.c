/* Reads one field of the kernel's that FIELD names. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct {
    int FIELD;
} __attribute__((preserve_access_index));

SEC("raw_tp/sys_enter") int on_enter(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task_btf();
    return task->FIELD == 1;
}

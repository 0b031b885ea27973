#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 device = 0, inode = 0;
struct bpf_pidns_info info;
__s64 right, wrong, short_one;
__u32 left[2] = {7, 7};

SEC("raw_tp/sys_enter") int ids(void *ctx)
{
    right = bpf_get_ns_current_pid_tgid(device, inode, &info, sizeof info);
    wrong = bpf_get_ns_current_pid_tgid(device, inode + 1, (struct bpf_pidns_info *)left, sizeof left);
    short_one = bpf_get_ns_current_pid_tgid(device, inode, (struct bpf_pidns_info *)left, 4);
    return 0;
}

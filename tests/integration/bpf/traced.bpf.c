/* Programs at kernel functions, for kernels that have kprobes, trampolines and LSM hooks; and one for TC. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

typedef _Bool bool;

char LICENSE[] SEC("license") = "GPL";

volatile __u32 pid = 0;
volatile __u64 kprobes = 0, kretprobes = 0, fentries = 0, fexits = 0, syscalls = 0, opens = 0, multi = 0, packets = 0;

static bool is_mine(void)
{
    return bpf_get_current_pid_tgid() >> 32 == pid;
}

#define COUNTER(section, name, counter) \
    SEC(section) int name(void *ctx)    \
    {                                   \
        if (is_mine())                  \
            counter++;                  \
        return 0;                       \
    }

COUNTER("kprobe/do_unlinkat", on_kprobe, kprobes)
COUNTER("kretprobe/do_unlinkat", on_kretprobe, kretprobes)
COUNTER("fentry/do_unlinkat", on_fentry, fentries)
COUNTER("fexit/do_unlinkat", on_fexit, fexits)
COUNTER("ksyscall/getpgid", on_ksyscall, syscalls)
COUNTER("lsm/file_open", on_open, opens)
COUNTER("kprobe.multi/do_unlinka*", on_multi, multi)

SEC("tc") int on_packet(struct __sk_buff *ctx)
{
    packets++;
    return 0;
}

/* What the kernel was configured with. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig __weak;
extern _Bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern enum libbpf_tristate CONFIG_VETH __kconfig __weak;
extern char CONFIG_NET __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[16] __kconfig __weak;
extern int CONFIG_WBPF_NEVER_HEARD_OF __kconfig __weak;

int version, hz, syscall, veth, net, unheard, first;

SEC("xdp") int read_config(struct xdp_md *ctx)
{
    version = LINUX_KERNEL_VERSION;
    hz = CONFIG_HZ;
    syscall = CONFIG_BPF_SYSCALL;
    veth = CONFIG_VETH;
    net = CONFIG_NET;
    unheard = CONFIG_WBPF_NEVER_HEARD_OF;
    first = CONFIG_DEFAULT_HOSTNAME[0];
    if (CONFIG_WBPF_NEVER_HEARD_OF)
        return *(volatile int *)0; /* never reached: no way leads here */
    return XDP_PASS;
}

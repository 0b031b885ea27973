/* A program that leaves out what is not to be traced. */
#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

#include <wbpf/filter.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("raw_tp/sys_enter")
int on_enter(void *context)
{
    return wbpf_filtered();
}

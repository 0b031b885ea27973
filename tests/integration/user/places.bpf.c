#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

#define ON(section, name)                                                                                    \
    SEC(section)                                                                                             \
    int name(void *context)                                                                                  \
    {                                                                                                        \
        return 0;                                                                                            \
    }

ON("tp/syscalls/sys_enter_openat", call)
ON("tp/syscalls/sys_enter_opanat", call_misspelt)
ON("tp/raw_syscalls/sys_exit", calls)
ON("raw_tp/sys_enter", calls_raw)
ON("raw_tp/sched_switch", raw_of_the_kernel)
ON("tp/sched/sched_switch", tracepoint_of_the_kernel)
ON("probe/shop:order", site)
ON("probe/shop:ordre", site_misspelt)
ON("probe/shop", site_without_name)
ON("uprobe/libc.so.6:malloc", library)
ON("uretprobe/libc.so.6:malloc", library_return)
ON("uretprobe/libc.so.6:malloc+4", library_return_inside)
ON("uprobe/libc.so.6:maloc", library_misspelt)
ON("uprobe/libnothing.so:malloc", no_library)
ON("uprobe//nonexistent/file:main", no_file)
ON("uprobe/libc.so.6:memcpy", chosen_at_start)
ON("usdt/sites:shop:order", usdt)
ON("usdt/sites:shop:ordre", usdt_misspelt)
ON("uprobe", anywhere)
ON("perf_event", timer)
ON("perf_event", timer_misspelt)
ON("xdp", packets)
ON("xdp", packets_of_no_file)
ON("tc", packets_without_direction)
ON("socket", packets_of_an_interface)
ON("kprobe/do_sys_open", in_the_kernel)

SEC("uprobe/libc.so.6:malloc")
int wild(unsigned long *context)
{
    return *(int *)context[0];
}

char LICENSE[] SEC("license") = "GPL";

#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

#define EPERM    1
#define MAX_NAME 64

struct removal {
    u64 time;
    u32 pid;
    u8 denied;
    u8 reserved[3];
    char comm[16];
    char name[MAX_NAME];
};
WBPF_EVENT(removal);

const volatile char deny[MAX_NAME]; /* --deny; empty: nothing */
u64 lost;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Asked before a folder is removed, unless another security module has forbidden it already. */
SEC("lsm/inode_rmdir")
int BPF_PROG(on_rmdir, struct inode *parent, struct dentry *folder)
{
    if (wbpf_filtered())
        return 0;
    char name[MAX_NAME] = {};
    bpf_probe_read_kernel_str(name, sizeof name, BPF_CORE_READ(folder, d_name.name));
    bool denied = deny[0];
    for (int i = 0; i < MAX_NAME; i++)
        if (name[i] != deny[i])
            denied = false;
    struct removal *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (event) {
        event->time = bpf_ktime_get_ns();
        event->pid = bpf_get_current_pid_tgid() >> 32;
        event->denied = denied;
        bpf_get_current_comm(event->comm, sizeof event->comm);
        __builtin_memcpy(event->name, name, sizeof name);
        bpf_ringbuf_submit(event, 0);
    } else {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    }
    if (!denied)
        return 0;
    __asm__ volatile("" ::: "memory"); /* a constant, not a sum: newer kernels want to know its range */
    return -EPERM;
}

char LICENSE[] SEC("license") = "GPL";

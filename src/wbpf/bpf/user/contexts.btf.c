/*
 * What programs in user space get as their contexts, laid out as the kernel does: CO-RE relocations are
 * resolved against these, also where the kernel does not tell its types. tools/generate_contexts.py makes BTF
 * of it, for each architecture.
 */
#include <linux/bpf.h>

#include <wbpf/probe.bpf.h>

#if defined WBPF_X86_64
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags;
    unsigned long sp, ss;
};
#elif defined WBPF_AARCH64
struct user_pt_regs {
    unsigned long long regs[31];
    unsigned long long sp, pc, pstate;
};
struct pt_regs {
    union {
        struct user_pt_regs user_regs;
        struct {
            unsigned long long regs[31];
            unsigned long long sp, pc, pstate;
        };
    };
    unsigned long long orig_x0;
    int syscallno;
    unsigned int pmr;
};
#endif

struct bpf_perf_event_data {
    struct pt_regs regs;
    unsigned long long sample_period, addr;
};

struct trace_entry {
    unsigned short type;
    unsigned char flags, preempt_count;
    int pid;
};

struct trace_event_raw_sys_enter {
    struct trace_entry ent;
    long id;
    unsigned long args[6];
    char __data[];
};

struct trace_event_raw_sys_exit {
    struct trace_entry ent;
    long id;
    long ret;
    char __data[];
};

/* One of each, so that their types are kept. */
struct pt_regs wbpf_pt_regs;
struct bpf_perf_event_data wbpf_bpf_perf_event_data;
struct trace_event_raw_sys_enter wbpf_sys_enter;
struct trace_event_raw_sys_exit wbpf_sys_exit;
struct xdp_md wbpf_xdp_md;
struct __sk_buff wbpf_sk_buff;
struct wbpf_probe_context wbpf_probe;

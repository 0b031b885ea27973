/* What a program at a probe site gets as its context; for eBPF programs and for C. */
#ifndef WBPF_PROBE_BPF_H
#define WBPF_PROBE_BPF_H

#define WBPF_PROBE_ARGS_MOST 8

/* Integers are extended to 64 bits as their types say; pointers are addresses in the process. */
struct wbpf_probe_context {
    unsigned long long args[WBPF_PROBE_ARGS_MOST]; /* those beyond `count` are 0 */
    unsigned long long count;
};

#endif

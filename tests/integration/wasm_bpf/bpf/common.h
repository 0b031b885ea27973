#pragma once
#include <linux/bpf.h> /* which the next one needs */

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";
typedef __u32 u32;
typedef __u64 u64;

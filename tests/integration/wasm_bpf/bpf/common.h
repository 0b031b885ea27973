#pragma once
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

char LICENSE[] SEC("license") = "GPL";
typedef __u32 u32;
typedef __u64 u64;

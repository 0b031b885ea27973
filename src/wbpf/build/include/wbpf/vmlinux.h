/*
 * The kernel's types that eBPF programs commonly need: for hosts without BTF, and for builds that shall not depend
 * on the host's kernel. Fields of the kernel's own structures are relocated (CO-RE) when a program is loaded, so
 * only names and kinds of fields matter here; a program that needs more of a structure declares it as a flavour
 * (`struct task_struct___mine`). What user space knows too comes from the kernel's headers, with its macros.
 */
#ifndef WBPF_VMLINUX_H
#define WBPF_VMLINUX_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <linux/udp.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true  1
#define false 0
typedef unsigned long size_t;
typedef int pid_t;

#ifndef AF_INET
#define AF_INET  2
#define AF_INET6 10
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* ---- processes ---- */

struct kernfs_node {
    u64 id;
};

struct cgroup_subsys_state {
    struct cgroup_subsys_state *parent;
};

struct cgroup {
    struct cgroup_subsys_state self; /* at its beginning */
    struct kernfs_node *kn;
    int level;
};

struct css_set {
    struct cgroup *dfl_cgrp;
};

struct ns_common {
    unsigned int inum;
};

struct pid_namespace {
    struct ns_common ns;
    unsigned int level;
};

struct mnt_namespace {
    struct ns_common ns;
};

struct net {
    struct ns_common ns;
};

struct nsproxy {
    struct mnt_namespace *mnt_ns;
    struct pid_namespace *pid_ns_for_children;
    struct net *net_ns;
};

struct mm_struct {
    unsigned long arg_start, arg_end;
};

struct signal_struct {
    int group_exit_code;
};

struct task_struct {
    unsigned int __state;
    int prio;
    struct mm_struct *mm;
    int exit_state, exit_code, exit_signal;
    pid_t pid, tgid;
    struct task_struct *real_parent, *parent, *group_leader;
    u64 start_time, start_boottime;
    char comm[16];
    struct nsproxy *nsproxy;
    struct signal_struct *signal;
    struct css_set *cgroups;
};

/* Before kernel 5.14. */
struct task_struct___state {
    volatile long state;
};

/* ---- tracepoints: `SEC("tp/CATEGORY/NAME")` ---- */

struct trace_entry {
    unsigned short type;
    unsigned char flags, preempt_count;
    int pid;
};

struct trace_event_raw_sys_enter {
    struct trace_entry ent;
    long id;
    unsigned long args[6];
};

struct trace_event_raw_sys_exit {
    struct trace_entry ent;
    long id;
    long ret;
};

struct trace_event_raw_sched_process_exec {
    struct trace_entry ent;
    u32 __data_loc_filename;
    pid_t pid, old_pid;
};

struct trace_event_raw_sched_process_template {
    struct trace_entry ent;
    char comm[16];
    pid_t pid;
    int prio;
};

struct trace_event_raw_sched_process_fork {
    struct trace_entry ent;
    pid_t parent_pid, child_pid;
};

struct trace_event_raw_sched_switch {
    struct trace_entry ent;
    char prev_comm[16];
    pid_t prev_pid;
    int prev_prio;
    long prev_state;
    char next_comm[16];
    pid_t next_pid;
    int next_prio;
};

/* ---- files ---- */

struct qstr {
    u32 hash, len;
    const unsigned char *name;
};

struct super_block {
    u32 s_dev;
};

struct inode {
    unsigned short i_mode;
    unsigned long i_ino;
    struct super_block *i_sb;
};

struct dentry {
    struct dentry *d_parent;
    struct qstr d_name;
    struct inode *d_inode;
};

struct vfsmount {
    struct dentry *mnt_root;
};

struct path {
    struct vfsmount *mnt;
    struct dentry *dentry;
};

struct file {
    struct path f_path;
    struct inode *f_inode;
    unsigned int f_flags;
};

struct filename {
    const char *name;
};

struct linux_binprm {
    struct file *file;
    const char *filename;
};

/* ---- block devices ---- */

struct gendisk {
    int major, first_minor;
    char disk_name[32];
};

struct request_queue {
    struct gendisk *disk;
};

struct block_device {
    u32 bd_dev;
};

struct bio {
    struct block_device *bi_bdev;
};

struct request {
    struct request_queue *q;
    unsigned int cmd_flags, __data_len;
    u64 __sector;
    struct bio *bio;
};

/* ---- sockets ---- */

struct in6_addr___kernel {
    u8 bytes[16];
};

struct sock_common {
    union {
        struct {
            __be32 skc_daddr, skc_rcv_saddr;
        };
    };
    union {
        struct {
            __be16 skc_dport;
            u16 skc_num;
        };
    };
    unsigned short skc_family;
    volatile unsigned char skc_state;
    struct {
        struct net *net;
    } skc_net;
    struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
    u64 skc_cookie;
};

struct sock {
    struct sock_common __sk_common;
    u16 sk_protocol;
    int sk_err;
};

struct inet_sock {
    struct sock sk;
    __be16 inet_sport;
};

struct tcp_sock {
    u32 srtt_us, snd_cwnd;
    u64 bytes_received, bytes_acked;
    u32 total_retrans;
};

struct sk_buff {
    struct sock *sk;
    unsigned int len, data_len;
    u16 protocol, transport_header, network_header, mac_header;
    unsigned char *head, *data;
};

struct socket {
    struct sock *sk;
};

#pragma clang attribute pop

#endif

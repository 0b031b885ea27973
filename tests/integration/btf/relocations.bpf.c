/* Every kind of CO-RE relocation, to what a kernel has and to what none has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct list_head {
    struct list_head *next, *prev;
};
struct mm_struct {
    unsigned long arg_start;
    int none_such;
};
struct task_struct {
    int pid, tgid;
    char comm[16];
    struct mm_struct *mm;
    struct list_head tasks;
    unsigned in_execve : 1;
    unsigned sched_reset_on_fork : 1;
    unsigned long nvcsw;
    int tgidd;
};
struct task_struct___other {
    unsigned tgid;
    struct mm_struct *comm; /* of another kind */
};
struct no_such_struct {
    int field;
};
struct tsk_struct {
    int pid;
};
union tcp_word_hdr {
    unsigned words[5];
};
struct sk_buff {
    unsigned len;
    unsigned char pkt_type : 3;
    unsigned char *head;
};
struct file {
    unsigned f_flags;
};
#pragma clang attribute pop

enum pid_type {
    PIDTYPE_PID = 77,
    PIDTYPE_SID = 78,
    PIDTYPE_NONE_SUCH = 79,
};
enum no_such_enum {
    NO_SUCH_VALUE = 5,
};
typedef int pid_t;
typedef int no_such_t;

struct hlist_head {
    struct hlist_node *first;
};
struct hlist_head___wrong {
    unsigned long first;
};

unsigned long long out[64];

#define PUT(i, what) (out[i] = (what))

SEC("raw_tp/sys_enter")
int fields(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    PUT(0, BPF_CORE_READ(task, pid));
    PUT(1, BPF_CORE_READ(task, mm, arg_start));
    PUT(2, bpf_core_field_offset(struct task_struct, comm));
    PUT(3, bpf_core_field_size(struct task_struct, comm));
    PUT(4, bpf_core_field_exists(struct task_struct, tgid));
    PUT(5, bpf_core_field_exists(struct task_struct, tgidd));
    PUT(6, BPF_CORE_READ_BITFIELD_PROBED(task, in_execve));
    PUT(7, BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork));
    PUT(8, bpf_core_field_offset(struct task_struct, tasks.prev));
    PUT(9, bpf_core_field_offset(struct task_struct, comm[3]));
    PUT(10, bpf_core_field_exists(struct task_struct___other, comm));
    PUT(11, bpf_core_field_size(struct task_struct___other, tgid));
    PUT(12, bpf_core_field_exists(struct no_such_struct, field));
    PUT(13, bpf_core_field_exists(struct mm_struct, none_such));
    PUT(14, bpf_core_field_size(struct sk_buff, head));
    PUT(15, bpf_core_field_offset(struct sk_buff, pkt_type));
    PUT(16, bpf_core_field_exists(struct file, f_flags));
    return 0;
}

SEC("raw_tp/sys_enter")
int types(void *context)
{
    PUT(20, bpf_core_type_exists(struct task_struct));
    PUT(21, bpf_core_type_exists(struct no_such_struct));
    PUT(22, bpf_core_type_size(struct task_struct));
    PUT(23, bpf_core_type_size(struct list_head));
    PUT(24, bpf_core_type_id_kernel(struct task_struct));
    PUT(25, bpf_core_type_id_local(struct task_struct));
    PUT(26, bpf_core_type_exists(pid_t));
    PUT(27, bpf_core_type_exists(no_such_t));
    PUT(28, bpf_core_type_matches(struct hlist_head));
    PUT(29, bpf_core_type_matches(struct hlist_head___wrong));
    PUT(30, bpf_core_type_matches(struct task_struct));
    PUT(31, bpf_core_type_matches(enum pid_type));
    return 0;
}

SEC("raw_tp/sys_enter")
int enums(void *context)
{
    PUT(40, bpf_core_enum_value(enum pid_type, PIDTYPE_SID));
    PUT(41, bpf_core_enum_value_exists(enum pid_type, PIDTYPE_SID));
    PUT(42, bpf_core_enum_value_exists(enum pid_type, PIDTYPE_NONE_SUCH));
    PUT(43, bpf_core_enum_value_exists(enum no_such_enum, NO_SUCH_VALUE));
    return 0;
}

SEC("raw_tp/sys_enter")
int missing_field(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    PUT(50, BPF_CORE_READ(task, tgidd));
    return 0;
}

SEC("raw_tp/sys_enter")
int missing_type(void *context)
{
    struct tsk_struct *task = (void *)bpf_get_current_task();
    PUT(51, BPF_CORE_READ(task, pid));
    return 0;
}

SEC("raw_tp/sys_enter")
int missing_value(void *context)
{
    PUT(52, bpf_core_enum_value(enum pid_type, PIDTYPE_NONE_SUCH));
    return 0;
}

SEC("raw_tp/sys_enter")
int guarded(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    if (bpf_core_field_exists(struct task_struct, tgidd))
        PUT(53, BPF_CORE_READ(task, tgidd));
    else
        PUT(54, BPF_CORE_READ(task, tgid));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

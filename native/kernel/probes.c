/* What this kernel takes: probes by trying, without libbpf. */
#include "bpf_syscall.h"
#include "kernel.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* An error that speaks of rights or memory says nothing of what the kernel can. */
static int answer(int result, int no)
{
    if (result >= 0)
        close(result);
    return result >= 0 ? 1 : result == no ? 0 : result;
}

int wbpf_probe_map(uint32_t type, uint32_t value_bytes, uint32_t flags)
{
    union bpf_attr attr = {
        .map_type = type, .key_size = 4, .value_size = value_bytes, .max_entries = 1, .map_flags = flags};
    return answer(wbpf_bpf(BPF_MAP_CREATE, &attr), -EINVAL);
}

static int load(const struct bpf_insn *instructions, uint32_t count)
{
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
                           .insns = (uintptr_t)instructions,
                           .insn_cnt = count,
                           .license = (uintptr_t)"GPL"};
    return wbpf_bpf(BPF_PROG_LOAD, &attr);
}

int wbpf_probe_fetch_add(void)
{
    const struct bpf_insn leave[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    const struct bpf_insn add[] = {
        {.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = 1},
        {.code = BPF_STX | BPF_ATOMIC | BPF_DW,
         .dst_reg = BPF_REG_10,
         .src_reg = BPF_REG_1,
         .off = -8,
         .imm = BPF_ADD | BPF_FETCH},
        leave[0],
        leave[1],
    };
    int basic = load(leave, 2);
    if (basic < 0)
        return basic;
    close(basic);
    int result = load(add, sizeof add / sizeof *add);
    /* arm64 before 5.18: the verifier takes it, the JIT does not. */
    return result == -EOPNOTSUPP ? 0 : answer(result, -EINVAL);
}

/* Of types that the kernel takes only with one. */
static uint32_t expected_attach_type(uint32_t program_type)
{
    switch (program_type) {
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
        return BPF_CGROUP_INET4_CONNECT;
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
        return BPF_CGROUP_SETSOCKOPT;
    case BPF_PROG_TYPE_SK_LOOKUP:
        return BPF_SK_LOOKUP;
    default:
        return 0;
    }
}

int wbpf_probe_helper(uint32_t program_type, uint32_t helper)
{
    static const char *const refusals[] = {"invalid func", "unknown func", "cannot use helper"};
    const struct bpf_insn call[] = {{.code = BPF_JMP | BPF_CALL, .imm = (int32_t)helper},
                                    {.code = BPF_JMP | BPF_EXIT}};
    char log[4096] = "";
    union bpf_attr attr = {.prog_type = program_type,
                           .expected_attach_type = expected_attach_type(program_type),
                           .prog_flags = program_type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0,
                           .insns = (uintptr_t)call,
                           .insn_cnt = sizeof call / sizeof *call,
                           .license = (uintptr_t)"GPL",
                           .log_buf = (uintptr_t)log,
                           .log_size = sizeof log,
                           .log_level = 1};
    if (program_type == BPF_PROG_TYPE_TRACING || program_type == BPF_PROG_TYPE_LSM ||
        program_type == BPF_PROG_TYPE_EXT || program_type == BPF_PROG_TYPE_STRUCT_OPS)
        return -EOPNOTSUPP; /* they are loaded for a function of the kernel, which decides as well */
    int result = wbpf_bpf(BPF_PROG_LOAD, &attr);
    if (result >= 0)
        close(result);
    for (unsigned i = 0; result < 0 && i < sizeof refusals / sizeof *refusals; i++)
        if (strstr(log, refusals[i]))
            return 0;
    /* The verifier got as far as to the arguments, which are missing. */
    return result >= 0 || *log ? 1 : result;
}

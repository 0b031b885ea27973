/* bpf(2) where no library is needed: maps, running a program once, probes. */
#include "kernel.h"
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
    int result = (int)syscall(SYS_bpf, command, attr, sizeof *attr);
    return result < 0 ? -errno : result;
}

static union bpf_attr element(int fd, const void *key, const void *value)
{
    return (union bpf_attr){
        .map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)value, .flags = BPF_ANY};
}

int wbpf_map_lookup(int fd, const void *key, void *value)
{
    union bpf_attr attr = element(fd, key, value);
    return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

int wbpf_map_update(int fd, const void *key, const void *value)
{
    union bpf_attr attr = element(fd, key, value);
    return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

int wbpf_map_delete(int fd, const void *key)
{
    union bpf_attr attr = element(fd, key, NULL);
    return bpf(BPF_MAP_DELETE_ELEM, &attr);
}

int wbpf_map_next_key(int fd, const void *key, void *next)
{
    union bpf_attr attr = element(fd, key, next);
    return bpf(BPF_MAP_GET_NEXT_KEY, &attr);
}

int wbpf_possible_cpus(void)
{
    FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
    unsigned last = 0, first;
    char line[256] = "", *at = line;
    if (file) {
        if (!fgets(line, sizeof line, file))
            line[0] = 0;
        fclose(file);
    }
    for (int used; sscanf(at, "%u%n", &first, &used) == 1; at += *at == ',') {
        at += used;
        last = first;
        if (*at == '-' && sscanf(at + 1, "%u%n", &last, &used) == 1)
            at += used + 1;
    }
    return *line ? (int)last + 1 : -ENOENT;
}

int wbpf_program_run(int fd, const uint64_t *arguments, uint32_t count, uint32_t *result)
{
    union bpf_attr attr = {.test = {.prog_fd = (uint32_t)fd,
                                    .ctx_in = (uintptr_t)arguments,
                                    .ctx_size_in = count * (uint32_t)sizeof *arguments}};
    int error = bpf(BPF_PROG_TEST_RUN, &attr);
    *result = attr.test.retval;
    return error;
}

/* ---- probes ---- */

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
    return answer(bpf(BPF_MAP_CREATE, &attr), -EINVAL);
}

static int load(const struct bpf_insn *instructions, uint32_t count)
{
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
                           .insns = (uintptr_t)instructions,
                           .insn_cnt = count,
                           .license = (uintptr_t)"GPL"};
    return bpf(BPF_PROG_LOAD, &attr);
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

/* bpf(2) where no library is needed: maps, and running a program once. */
#include "bpf_syscall.h"
#include "kernel.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* With no more of the attributes than these commands have: the kernel copies and checks what it is given. */
static int element(int command, int fd, const void *key, const void *value, uint64_t flags)
{
    const size_t size = offsetof(union bpf_attr, flags) + sizeof flags;
    union bpf_attr attr;
    memset(&attr, 0, size);
    attr.map_fd = (uint32_t)fd;
    attr.key = (uintptr_t)key;
    attr.value = (uintptr_t)value;
    attr.flags = flags;
    int result = (int)syscall(SYS_bpf, command, &attr, size);
    return result < 0 ? -errno : result;
}

int wbpf_map_lookup(int fd, const void *key, void *value, uint64_t flags)
{
    return element(BPF_MAP_LOOKUP_ELEM, fd, key, value, flags);
}

int wbpf_map_update(int fd, const void *key, const void *value, uint64_t flags)
{
    return element(BPF_MAP_UPDATE_ELEM, fd, key, value, flags);
}

int wbpf_map_delete(int fd, const void *key)
{
    return element(BPF_MAP_DELETE_ELEM, fd, key, NULL, 0);
}

int wbpf_map_next_key(int fd, const void *key, void *next)
{
    return element(BPF_MAP_GET_NEXT_KEY, fd, key, next, 0);
}

int wbpf_map_lookup_and_delete(int fd, const void *key, void *value, uint64_t flags)
{
    return element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, key, value, flags);
}

int wbpf_map_batch(int fd, enum wbpf_batch what, wbpf_map_batch_spec *spec)
{
    static const int commands[] = {[WBPF_BATCH_LOOKUP] = BPF_MAP_LOOKUP_BATCH,
                                   [WBPF_BATCH_LOOKUP_AND_DELETE] = BPF_MAP_LOOKUP_AND_DELETE_BATCH,
                                   [WBPF_BATCH_UPDATE] = BPF_MAP_UPDATE_BATCH,
                                   [WBPF_BATCH_DELETE] = BPF_MAP_DELETE_BATCH};
    union bpf_attr attr = {.batch = {.in_batch = (uintptr_t)spec->from,
                                     .out_batch = (uintptr_t)spec->cursor,
                                     .keys = (uintptr_t)spec->keys,
                                     .values = (uintptr_t)spec->values,
                                     .count = spec->count,
                                     .map_fd = (uint32_t)fd,
                                     .elem_flags = spec->flags}};
    int error = wbpf_bpf(commands[what], &attr);
    spec->count = attr.batch.count;
    return error;
}

int wbpf_map_ask(int fd, wbpf_map_facts *out)
{
    struct bpf_map_info info = {0};
    union bpf_attr attr = {
        .info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof info, .info = (uintptr_t)&info}};
    int error = wbpf_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
    if (error)
        return error;
    *out = (wbpf_map_facts){.type = info.type,
                            .key_bytes = info.key_size,
                            .value_bytes = info.value_size,
                            .entries = info.max_entries,
                            .flags = info.map_flags,
                            .id = info.id};
    memcpy(out->name, info.name, sizeof out->name - 1);
    return 0;
}

bool wbpf_map_is_per_cpu(uint32_t type)
{
    return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
           type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

uint64_t wbpf_map_value_span(uint32_t type, uint32_t value_bytes)
{
    if (!wbpf_map_is_per_cpu(type))
        return value_bytes;
    return (value_bytes + 7ull) / 8 * 8 * (uint64_t)wbpf_cpu_count();
}

/* ---- processors ---- */

/* How many stand in a list such as "0-3,8"; *last: the highest. */
static int read_possible(unsigned *last)
{
    FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
    char line[256] = "", *at = line;
    unsigned first;
    int count = 0;
    *last = 0;
    if (file) {
        if (!fgets(line, sizeof line, file))
            line[0] = 0;
        fclose(file);
    }
    for (int used; sscanf(at, "%u%n", &first, &used) == 1; at += *at == ',') {
        at += used;
        *last = first;
        if (*at == '-' && sscanf(at + 1, "%u%n", last, &used) == 1)
            at += used + 1;
        count += (int)(*last - first) + 1;
    }
    return count ? count : -ENOENT;
}

int wbpf_possible_cpus(void)
{
    unsigned last;
    int count = read_possible(&last);
    return count < 0 ? count : (int)last + 1;
}

int wbpf_cpu_count(void)
{
    static int known; /* they never change; at worst read twice */
    unsigned last;
    int count = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!count) {
        count = read_possible(&last);
        if (count < 0)
            count = 1;
        __atomic_store_n(&known, count, __ATOMIC_RELAXED);
    }
    return count;
}

/* ---- running once ---- */

int wbpf_program_run(int fd, wbpf_program_run_spec *spec)
{
    union bpf_attr attr = {.test = {.prog_fd = (uint32_t)fd,
                                    .data_in = (uintptr_t)spec->data,
                                    .data_size_in = spec->data_bytes,
                                    .data_out = (uintptr_t)spec->data_out,
                                    .data_size_out = spec->data_out_bytes,
                                    .ctx_in = (uintptr_t)spec->context,
                                    .ctx_size_in = spec->context_bytes,
                                    .ctx_out = (uintptr_t)spec->context_out,
                                    .ctx_size_out = spec->context_out_bytes,
                                    .repeat = spec->repeat}};
    int error = wbpf_bpf(BPF_PROG_TEST_RUN, &attr);
    spec->result = attr.test.retval;
    spec->duration_ns = attr.test.duration;
    spec->data_out_bytes = attr.test.data_size_out;
    spec->context_out_bytes = attr.test.ctx_size_out;
    return error;
}

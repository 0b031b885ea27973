/* Objects: what wbpf.bpf.kernel asks of libbpf. */
#include "kernel.h"
#include "libbpf.h"
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct log {
    char *text;
    size_t used, size;
};

struct wbpf_object {
    struct bpf_object *bpf;
    struct log log;
};

struct wbpf_link {
    struct bpf_link *bpf;
};

/* ---- what libbpf says, kept for who has called it ---- */

static __thread struct log *listening;
static __thread struct log open_log;

static int hear(enum libbpf_print_level level, const char *format, va_list arguments)
{
    struct log *log = listening;
    va_list again;
    if (!log || level > LIBBPF_WARN)
        return 0;
    va_copy(again, arguments);
    int bytes = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (bytes < 0)
        return bytes;
    if (log->size - log->used <= (size_t)bytes) {
        size_t size = 2 * log->size + (size_t)bytes + 1;
        char *grown = realloc(log->text, size);
        if (!grown)
            return -ENOMEM;
        log->text = grown;
        log->size = size;
    }
    log->used += (size_t)vsnprintf(log->text + log->used, log->size - log->used, format, arguments);
    return bytes;
}

static void set_print(void)
{
    libbpf()->libbpf_set_print(hear);
}

static void listen_to(struct log *log)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (log) {
        pthread_once(&once, set_print);
        log->used = 0;
    }
    listening = log;
}

const char *wbpf_object_log(const wbpf_object *object)
{
    return object->log.used ? object->log.text : "";
}

const char *wbpf_open_log(void)
{
    return open_log.used ? open_log.text : "";
}

/* ---- opening and loading ---- */

int wbpf_object_open(const void *elf, size_t bytes, const char *name, const char *btf_path, wbpf_object **out)
{
    const struct libbpf *lib = libbpf();
    wbpf_object *object = lib ? calloc(1, sizeof *object) : NULL;
    if (!object)
        return lib ? -ENOMEM : -ENOSYS;
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name, .btf_custom_path = btf_path);
    listen_to(&open_log);
    object->bpf = lib->bpf_object__open_mem(elf, bytes, &options);
    int error = object->bpf ? 0 : -errno;
    listen_to(NULL);
    if (error) {
        free(object);
        return error;
    }
    *out = object;
    return 0;
}

void wbpf_object_close(wbpf_object *object)
{
    libbpf()->bpf_object__close(object->bpf);
    free(object->log.text);
    free(object);
}

int wbpf_object_load(wbpf_object *object)
{
    listen_to(&object->log);
    int error = libbpf()->bpf_object__load(object->bpf);
    listen_to(NULL);
    return error;
}

/* ---- variables ---- */

static int find_variable(const wbpf_object *object, const char *variable, const char **section,
                         uint32_t *offset, uint32_t *bytes)
{
    const struct libbpf *lib = libbpf();
    const struct btf *btf = lib->bpf_object__btf(object->bpf);
    for (uint32_t id = 1; btf && id < lib->btf__type_cnt(btf); id++) {
        const struct btf_type *type = lib->btf__type_by_id(btf, id);
        if (!btf_is_datasec(type))
            continue;
        const struct btf_var_secinfo *one = btf_var_secinfos(type);
        for (uint32_t i = 0; i < btf_vlen(type); i++, one++) {
            const char *name = lib->btf__name_by_offset(btf, lib->btf__type_by_id(btf, one->type)->name_off);
            if (!name || strcmp(name, variable) != 0)
                continue;
            *section = lib->btf__name_by_offset(btf, type->name_off);
            *offset = one->offset;
            *bytes = one->size;
            return 0;
        }
    }
    return -ENOENT;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

int wbpf_object_set(wbpf_object *object, const char *variable, const void *value, size_t bytes)
{
    const struct libbpf *lib = libbpf();
    const char *section;
    uint32_t offset, size;
    size_t held;
    if (find_variable(object, variable, &section, &offset, &size) != 0)
        return -ENOENT;
    if (size != bytes)
        return -EINVAL;
    /* libbpf keeps a section's content in a map whose name ends as the section's. */
    struct bpf_map *map = NULL;
    while ((map = lib->bpf_object__next_map(object->bpf, map)) != NULL) {
        if (!ends_with(lib->bpf_map__name(map), section))
            continue;
        char *content = (char *)lib->bpf_map__initial_value(map, &held); /* const in some versions */
        if (!content || offset > held || bytes > held - offset)
            return -EINVAL;
        memcpy(content + offset, value, bytes);
        return 0;
    }
    return -ENOENT;
}

int wbpf_object_resize_map(wbpf_object *object, const char *name, uint32_t value_bytes, uint32_t entries)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = lib->bpf_object__find_map_by_name(object->bpf, name);
    if (!map)
        return -ENOENT;
    int error = value_bytes ? lib->bpf_map__set_value_size(map, value_bytes) : 0;
    return !error && entries ? lib->bpf_map__set_max_entries(map, entries) : error;
}

int wbpf_object_drop_map(wbpf_object *object, const char *name)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = lib->bpf_object__find_map_by_name(object->bpf, name);
    return map ? lib->bpf_map__set_autocreate(map, false) : -ENOENT;
}

/* ---- what is in it ---- */

int wbpf_object_program(const wbpf_object *object, uint32_t index, wbpf_program_info *out)
{
    const struct libbpf *lib = libbpf();
    struct bpf_program *program = NULL;
    do
        program = lib->bpf_object__next_program(object->bpf, program);
    while (program && index--);
    if (!program)
        return -ENOENT;
    *out = (wbpf_program_info){.name = lib->bpf_program__name(program),
                               .section = lib->bpf_program__section_name(program),
                               .type = lib->bpf_program__type(program),
                               .fd = lib->bpf_program__fd(program)};
    return 0;
}

int wbpf_object_map(const wbpf_object *object, uint32_t index, wbpf_map_info *out)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = NULL;
    do
        map = lib->bpf_object__next_map(object->bpf, map);
    while (map && index--);
    if (!map)
        return -ENOENT;
    *out = (wbpf_map_info){.name = lib->bpf_map__name(map),
                           .type = lib->bpf_map__type(map),
                           .key_bytes = lib->bpf_map__key_size(map),
                           .value_bytes = lib->bpf_map__value_size(map),
                           .entries = lib->bpf_map__max_entries(map),
                           .fd = lib->bpf_map__fd(map)};
    return 0;
}

/* ---- attaching ---- */

static int keep_link(struct bpf_link *bpf, wbpf_link **out)
{
    wbpf_link *link = bpf ? calloc(1, sizeof *link) : NULL;
    if (!link) {
        int error = bpf ? -ENOMEM : -errno;
        if (bpf)
            libbpf()->bpf_link__destroy(bpf);
        return error;
    }
    link->bpf = bpf;
    *out = link;
    return 0;
}

int wbpf_object_attach(wbpf_object *object, const char *name, wbpf_link **out)
{
    const struct libbpf *lib = libbpf();
    struct bpf_program *program = lib->bpf_object__find_program_by_name(object->bpf, name);
    if (!program)
        return -ENOENT;
    listen_to(&object->log);
    int error = keep_link(lib->bpf_program__attach(program), out);
    listen_to(NULL);
    return error;
}

int wbpf_object_attach_clock(wbpf_object *object, const char *name, uint64_t period_ns, uint32_t cpu,
                             wbpf_link **out)
{
    const struct libbpf *lib = libbpf();
    struct bpf_program *program = lib->bpf_object__find_program_by_name(object->bpf, name);
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_SW_CPU_CLOCK,
                                   .sample_period = period_ns};
    if (!program)
        return -ENOENT;
    int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -errno;
    listen_to(&object->log);
    int error = keep_link(lib->bpf_program__attach_perf_event(program, fd), out);
    listen_to(NULL);
    if (error)
        close(fd); /* else the link owns it */
    return error;
}

void wbpf_link_destroy(wbpf_link *link)
{
    libbpf()->bpf_link__destroy(link->bpf);
    free(link);
}

int wbpf_probe_helper(uint32_t program_type, uint32_t helper)
{
    const struct libbpf *lib = libbpf();
    return lib ? lib->libbpf_probe_bpf_helper((enum bpf_prog_type)program_type, (enum bpf_func_id)helper,
                                              NULL)
               : -ENOSYS;
}

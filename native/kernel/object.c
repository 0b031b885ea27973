/* Objects: what wbpf.bpf.kernel asks of libbpf. */
#include "kernel.h"
#include "libbpf.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Flags that the kernel itself sets on a map: BPF_F_NO_PREALLOC is not among them. */
#define FLAGS_ADDED BPF_F_RDONLY_PROG

/* ---- what libbpf says, kept for who has called it ---- */

static __thread struct log *listening;
static __thread struct log open_log; /* freed with the process: one a thread that opens objects */

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

void libbpf_listen(struct log *log)
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

void wbpf_libbpf_strerror(int error, char *text, size_t room)
{
    libbpf()->libbpf_strerror(error, text, room);
}

/* ---- opening and loading ---- */

int wbpf_object_open(const void *elf, size_t bytes, const wbpf_open_spec *spec, wbpf_object **out)
{
    const struct libbpf *lib = libbpf();
    wbpf_object *object = lib ? calloc(1, sizeof *object) : NULL;
    if (!object)
        return lib ? -ENOMEM : -ENOSYS;
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = spec->name, .btf_custom_path = spec->btf_path,
                .pin_root_path = spec->pin_root);
    libbpf_listen(&open_log);
    object->bpf = lib->bpf_object__open_mem(elf, bytes, &options);
    int error = object->bpf ? 0 : -errno;
    libbpf_listen(NULL);
    if (error) {
        free(object);
        return error;
    }
    *out = object;
    return 0;
}

void wbpf_object_close(wbpf_object *object)
{
    variables_unmap(object);
    libbpf()->bpf_object__close(object->bpf);
    free(object->log.text);
    free(object);
}

int wbpf_object_load(wbpf_object *object)
{
    libbpf_listen(&object->log);
    int error = libbpf()->bpf_object__load(object->bpf);
    libbpf_listen(NULL);
    object->is_loaded = !error;
    return error;
}

/* ---- before loading ---- */

static struct bpf_program *find_program(const wbpf_object *object, const char *name)
{
    return libbpf()->bpf_object__find_program_by_name(object->bpf, name);
}

static struct bpf_map *find_map(const wbpf_object *object, const char *name)
{
    return libbpf()->bpf_object__find_map_by_name(object->bpf, name);
}

int wbpf_object_autoload(wbpf_object *object, const char *name, bool on)
{
    struct bpf_program *program = find_program(object, name);
    return program ? libbpf()->bpf_program__set_autoload(program, on) : -ENOENT;
}

int wbpf_object_aim(wbpf_object *object, const char *name, const char *function, int other_fd)
{
    struct bpf_program *program = find_program(object, name);
    if (!program)
        return -ENOENT;
    libbpf_listen(&object->log);
    int error = libbpf()->bpf_program__set_attach_target(program, other_fd, function);
    libbpf_listen(NULL);
    return error;
}

int wbpf_object_resize_map(wbpf_object *object, const char *name, uint32_t value_bytes, uint32_t entries)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = find_map(object, name);
    if (!map)
        return -ENOENT;
    int error = value_bytes ? lib->bpf_map__set_value_size(map, value_bytes) : 0;
    return !error && entries ? lib->bpf_map__set_max_entries(map, entries) : error;
}

int wbpf_object_flag_map(wbpf_object *object, const char *name, uint32_t flags)
{
    struct bpf_map *map = find_map(object, name);
    return map ? libbpf()->bpf_map__set_map_flags(map, flags) : -ENOENT;
}

int wbpf_object_drop_map(wbpf_object *object, const char *name)
{
    struct bpf_map *map = find_map(object, name);
    return map ? libbpf()->bpf_map__set_autocreate(map, false) : -ENOENT;
}

/* libbpf would take over whatever it is given, and find out when a program is loaded. */
static int check_same(const struct bpf_map *map, int fd)
{
    const struct libbpf *lib = libbpf();
    wbpf_map_facts facts;
    int error = wbpf_map_ask(fd, &facts);
    bool same = facts.type == (uint32_t)lib->bpf_map__type(map) &&
                facts.key_bytes == lib->bpf_map__key_size(map) &&
                facts.value_bytes == lib->bpf_map__value_size(map) &&
                (facts.flags & ~FLAGS_ADDED) == (lib->bpf_map__map_flags(map) & ~FLAGS_ADDED);
    return error ? error : same ? 0 : -EINVAL;
}

int wbpf_object_reuse_map(wbpf_object *object, const char *name, int fd)
{
    struct bpf_map *map = find_map(object, name);
    if (!map)
        return -ENOENT;
    int error = check_same(map, fd);
    return error ? error : libbpf()->bpf_map__reuse_fd(map, fd);
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
                               .attach_type = lib->bpf_program__expected_attach_type(program),
                               .fd = lib->bpf_program__fd(program),
                               .autoload = lib->bpf_program__autoload(program)};
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
                           .flags = lib->bpf_map__map_flags(map),
                           .key_type = lib->bpf_map__btf_key_type_id(map),
                           .value_type = lib->bpf_map__btf_value_type_id(map),
                           .fd = lib->bpf_map__fd(map)};
    return 0;
}

int wbpf_probe_map_type(uint32_t map_type)
{
    const struct libbpf *lib = libbpf();
    return lib ? lib->libbpf_probe_bpf_map_type((enum bpf_map_type)map_type, NULL) : -ENOSYS;
}

int wbpf_probe_program(uint32_t program_type)
{
    const struct libbpf *lib = libbpf();
    return lib ? lib->libbpf_probe_bpf_prog_type((enum bpf_prog_type)program_type, NULL) : -ENOSYS;
}

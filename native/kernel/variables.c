/* Global variables of an object: in libbpf's copy until it is loaded, then in the memory that programs use.
 */
#include "kernel.h"
#include "libbpf.h"
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- in the object's BTF ---- */

static const struct btf_type *resolve(const struct btf *btf, uint32_t id)
{
    const struct btf_type *type = libbpf()->btf__type_by_id(btf, id);
    while (type && (btf_is_mod(type) || btf_is_typedef(type) || btf_is_type_tag(type)))
        type = libbpf()->btf__type_by_id(btf, type->type);
    return type;
}

static char kind_of(const struct btf *btf, uint32_t id)
{
    const struct btf_type *type = resolve(btf, id);
    if (!type)
        return 'o';
    if (btf_is_int(type))
        return btf_int_encoding(type) & BTF_INT_BOOL     ? 'b'
               : btf_int_encoding(type) & BTF_INT_SIGNED ? 'i'
                                                         : 'u';
    if (btf_is_any_enum(type))
        return btf_kflag(type) ? 'i' : 'u';
    if (btf_is_float(type))
        return 'f';
    const struct btf_type *element = btf_is_array(type) ? resolve(btf, btf_array(type)->type) : NULL;
    return element && btf_is_int(element) && element->size == 1 && !(btf_int_encoding(element) & BTF_INT_BOOL)
               ? 'c'
               : 'o';
}

int wbpf_object_variable(const wbpf_object *object, uint32_t index, wbpf_variable_info *out)
{
    const struct libbpf *lib = libbpf();
    const struct btf *btf = lib->bpf_object__btf(object->bpf);
    for (uint32_t id = 1; btf && id < lib->btf__type_cnt(btf); id++) {
        const struct btf_type *section = lib->btf__type_by_id(btf, id);
        if (!btf_is_datasec(section))
            continue;
        if (index >= btf_vlen(section)) {
            index -= btf_vlen(section);
            continue;
        }
        const struct btf_var_secinfo *one = btf_var_secinfos(section) + index;
        const struct btf_type *variable = lib->btf__type_by_id(btf, one->type);
        *out = (wbpf_variable_info){.name = lib->btf__name_by_offset(btf, variable->name_off),
                                    .section = lib->btf__name_by_offset(btf, section->name_off),
                                    .offset = one->offset,
                                    .bytes = one->size,
                                    .kind = kind_of(btf, variable->type)};
        return 0;
    }
    return -ENOENT;
}

static int find_variable(const wbpf_object *object, const char *name, wbpf_variable_info *out)
{
    for (uint32_t i = 0; wbpf_object_variable(object, i, out) == 0; i++)
        if (out->name && out->section && strcmp(out->name, name) == 0)
            return 0;
    return -ENOENT;
}

/* ---- their memory ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* libbpf keeps a section's content in a map whose name ends as the section's. */
static struct bpf_map *map_of(const wbpf_object *object, const char *section)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = NULL;
    while ((map = lib->bpf_object__next_map(object->bpf, map)) != NULL)
        if (ends_with(lib->bpf_map__name(map), section))
            return map;
    return NULL;
}

static size_t mapped_bytes(const struct bpf_map *map)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (libbpf()->bpf_map__value_size(map) + page - 1) / page * page;
}

static bool is_constant(const struct bpf_map *map)
{
    return libbpf()->bpf_map__map_flags(map) & BPF_F_RDONLY_PROG;
}

static uint8_t *shared_memory(wbpf_object *object, const struct bpf_map *map)
{
    for (uint32_t i = 0; i < object->view_count; i++)
        if (object->views[i].map == map)
            return object->views[i].memory;
    struct variables_view *grown = realloc(object->views, (object->view_count + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    object->views = grown;
    int access = is_constant(map) ? PROT_READ : PROT_READ | PROT_WRITE;
    void *memory = mmap(NULL, mapped_bytes(map), access, MAP_SHARED, libbpf()->bpf_map__fd(map), 0);
    if (memory == MAP_FAILED)
        return NULL;
    object->views[object->view_count++] = (struct variables_view){map, memory};
    return memory;
}

void variables_unmap(wbpf_object *object)
{
    for (uint32_t i = 0; i < object->view_count; i++)
        munmap(object->views[i].memory, mapped_bytes(object->views[i].map));
    free(object->views);
}

static int locate(wbpf_object *object, const char *name, size_t bytes, bool to_write, uint8_t **out)
{
    wbpf_variable_info variable;
    if (find_variable(object, name, &variable) != 0)
        return -ENOENT;
    if (variable.bytes != bytes)
        return -EINVAL;
    struct bpf_map *map = map_of(object, variable.section);
    if (!map)
        return -ENOENT;
    if (to_write && object->is_loaded && is_constant(map))
        return -EROFS;
    size_t held = libbpf()->bpf_map__value_size(map);
    uint8_t *memory = object->is_loaded ? shared_memory(object, map)
                                        : (uint8_t *)libbpf()->bpf_map__initial_value(map, &held);
    if (!memory)
        return -ENOMEM;
    if (variable.offset > held || bytes > held - variable.offset)
        return -EINVAL;
    *out = memory + variable.offset;
    return 0;
}

int wbpf_object_set(wbpf_object *object, const char *name, const void *value, size_t bytes)
{
    uint8_t *at;
    int error = locate(object, name, bytes, true, &at);
    if (!error)
        memcpy(at, value, bytes);
    return error;
}

int wbpf_object_get(wbpf_object *object, const char *name, void *value, size_t bytes)
{
    uint8_t *at;
    int error = locate(object, name, bytes, false, &at);
    if (!error)
        memcpy(value, at, bytes);
    return error;
}

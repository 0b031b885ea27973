/* libbpf, loaded when it is first needed: the extension module works on hosts without it. */
#ifndef WBPF_LIBBPF_H
#define WBPF_LIBBPF_H

#ifdef WBPF_HAVE_LIBBPF
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define LIBBPF_FUNCTIONS(each)                                                                               \
    each(libbpf_set_print);                                                                                  \
    each(libbpf_strerror);                                                                                   \
    each(libbpf_version_string);                                                                             \
    each(bpf_object__open_mem);                                                                              \
    each(bpf_object__load);                                                                                  \
    each(bpf_object__close);                                                                                 \
    each(bpf_object__btf);                                                                                   \
    each(bpf_object__next_program);                                                                          \
    each(bpf_object__next_map);                                                                              \
    each(bpf_object__find_program_by_name);                                                                  \
    each(bpf_object__find_map_by_name);                                                                      \
    each(bpf_program__name);                                                                                 \
    each(bpf_program__section_name);                                                                         \
    each(bpf_program__type);                                                                                 \
    each(bpf_program__fd);                                                                                   \
    each(bpf_program__expected_attach_type);                                                                 \
    each(bpf_program__autoload);                                                                             \
    each(bpf_program__set_autoload);                                                                         \
    each(bpf_program__set_attach_target);                                                                    \
    each(bpf_program__attach);                                                                               \
    each(bpf_program__attach_perf_event_opts);                                                               \
    each(bpf_program__attach_kprobe_opts);                                                                   \
    each(bpf_program__attach_kprobe_multi_opts);                                                             \
    each(bpf_program__attach_ksyscall);                                                                      \
    each(bpf_program__attach_uprobe_opts);                                                                   \
    each(bpf_program__attach_usdt);                                                                          \
    each(bpf_program__attach_trace_opts);                                                                    \
    each(bpf_program__attach_lsm);                                                                           \
    each(bpf_link__destroy);                                                                                 \
    each(bpf_link__disconnect);                                                                              \
    each(bpf_link__fd);                                                                                      \
    each(bpf_map__attach_struct_ops);                                                                        \
    each(bpf_map__name);                                                                                     \
    each(bpf_map__type);                                                                                     \
    each(bpf_map__fd);                                                                                       \
    each(bpf_map__key_size);                                                                                 \
    each(bpf_map__value_size);                                                                               \
    each(bpf_map__max_entries);                                                                              \
    each(bpf_map__map_flags);                                                                                \
    each(bpf_map__set_map_flags);                                                                            \
    each(bpf_map__btf_key_type_id);                                                                          \
    each(bpf_map__btf_value_type_id);                                                                        \
    each(bpf_map__set_value_size);                                                                           \
    each(bpf_map__set_max_entries);                                                                          \
    each(bpf_map__set_autocreate);                                                                           \
    each(bpf_map__reuse_fd);                                                                                 \
    each(bpf_map__initial_value);                                                                            \
    each(libbpf_probe_bpf_prog_type);                                                                        \
    each(libbpf_probe_bpf_map_type);                                                                         \
    each(bpf_tc_hook_create);                                                                                \
    each(bpf_tc_attach);                                                                                     \
    each(bpf_tc_detach);                                                                                     \
    each(bpf_tc_query);                                                                                      \
    each(btf__type_by_id);                                                                                   \
    each(btf__type_cnt);                                                                                     \
    each(btf__name_by_offset)

struct libbpf {
#define LIBBPF_MEMBER(name) __typeof__(&name) name
    LIBBPF_FUNCTIONS(LIBBPF_MEMBER);
#undef LIBBPF_MEMBER
};
/* NULL if it is not to be had: wbpf_libbpf_find() says why. */
const struct libbpf *libbpf(void);

/* ---- object.c and what goes with it ---- */

#include "kernel.h"
#include <stdbool.h>
#include <stddef.h>

/* What libbpf says, kept for who has called it. */
struct log {
    char *text;
    size_t used, size;
};

/* From now on this thread's messages go there; NULL: nowhere. */
void libbpf_listen(struct log *log);

/* A section of variables, once it is loaded. */
struct variables_view {
    const struct bpf_map *map;
    uint8_t *memory; /* shared with the programs */
};

struct wbpf_object {
    struct bpf_object *bpf;
    struct log log;
    bool is_loaded;
    struct variables_view *views;
    uint32_t view_count;
};

void variables_unmap(struct wbpf_object *object);

#endif
#endif

/* libbpf, loaded when it is first needed: the extension module works on hosts without it. */
#ifndef WBPF_LIBBPF_H
#define WBPF_LIBBPF_H

#ifdef WBPF_HAVE_LIBBPF
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define LIBBPF_FUNCTIONS(each)                                                                               \
    each(libbpf_set_print);                                                                                  \
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
    each(bpf_program__attach);                                                                               \
    each(bpf_program__attach_perf_event);                                                                    \
    each(bpf_link__destroy);                                                                                 \
    each(bpf_map__name);                                                                                     \
    each(bpf_map__type);                                                                                     \
    each(bpf_map__fd);                                                                                       \
    each(bpf_map__key_size);                                                                                 \
    each(bpf_map__value_size);                                                                               \
    each(bpf_map__max_entries);                                                                              \
    each(bpf_map__set_value_size);                                                                           \
    each(bpf_map__set_max_entries);                                                                          \
    each(bpf_map__set_autocreate);                                                                           \
    each(libbpf_probe_bpf_helper);                                                                           \
    each(bpf_map__initial_value);                                                                            \
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

#endif
#endif

/* Links: where the kernel has a link it is used, since it ends with its descriptor, and so with this process.
 */
#include "bpf_syscall.h"
#include "kernel.h"
#include "libbpf.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than the headers that this may be built with. */
enum { ATTACH_STRUCT_OPS = 44, MAP_FLAG_LINK = 1 << 13 };

struct wbpf_link {
    struct bpf_link *bpf;
    int fd; /* of a link or socket that libbpf does not know; -1 */
    /* of an attachment that is no link */
    void (*undo)(struct wbpf_link *link);
    int target_fd, program_fd;
    uint32_t attach_type;
    wbpf_tc_filter tc;
};

/* ---- what needs more than one call ---- */

static int create_link(union bpf_attr *attr, wbpf_link *link)
{
    link->fd = wbpf_bpf(BPF_LINK_CREATE, attr);
    return link->fd < 0 ? link->fd : 0;
}

static int attach_link(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    union bpf_attr attr = {.link_create = {.prog_fd = (uint32_t)program_fd,
                                           .target_fd = (uint32_t)place->fd,
                                           .attach_type = place->attach_type,
                                           .flags = place->flags}};
    return create_link(&attr, link);
}

static int attach_iter(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    union bpf_iter_link_info info = {0};
    union bpf_attr attr = {.link_create = {.prog_fd = (uint32_t)program_fd, .attach_type = BPF_TRACE_ITER}};
    if (place->iter.map_fd) {
        info.map.map_fd = (uint32_t)place->iter.map_fd;
    } else if (place->iter.cgroup_fd) {
        info.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE;
        info.cgroup.cgroup_fd = (uint32_t)place->iter.cgroup_fd;
    } else if (place->iter.pid) {
        info.task.pid = place->iter.pid;
    }
    if (place->iter.map_fd || place->iter.cgroup_fd || place->iter.pid) {
        attr.link_create.iter_info = (uintptr_t)&info;
        attr.link_create.iter_info_len = sizeof info;
    }
    return create_link(&attr, link);
}

static int attach_raw_tracepoint(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    const struct {
        uint64_t name;
        uint32_t program_fd, reserved;
        uint64_t cookie; /* kernel 6.10 */
    } open = {(uintptr_t)place->name, (uint32_t)program_fd, 0, place->cookie};
    union bpf_attr attr = {0};
    memcpy(&attr, &open, sizeof open);
    link->fd = wbpf_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
    return link->fd < 0 ? link->fd : 0;
}

static void detach_sockmap(wbpf_link *link)
{
    union bpf_attr attr = {.target_fd = (uint32_t)link->target_fd,
                           .attach_bpf_fd = (uint32_t)link->program_fd,
                           .attach_type = link->attach_type};
    wbpf_bpf(BPF_PROG_DETACH, &attr);
    close(link->target_fd);
}

static int attach_sockmap(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    union bpf_attr attr = {.target_fd = (uint32_t)place->fd,
                           .attach_bpf_fd = (uint32_t)program_fd,
                           .attach_type = place->attach_type};
    link->target_fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    if (link->target_fd < 0)
        return -errno;
    int error = wbpf_bpf(BPF_PROG_ATTACH, &attr);
    if (error)
        close(link->target_fd);
    else
        link->undo = detach_sockmap;
    link->program_fd = program_fd;
    link->attach_type = place->attach_type;
    return error;
}

static void detach_socket(wbpf_link *link)
{
    const int none = 0;
    setsockopt(link->target_fd, SOL_SOCKET,
               link->attach_type == SO_ATTACH_BPF ? SO_DETACH_BPF : SO_DETACH_REUSEPORT_BPF, &none,
               sizeof none);
    close(link->target_fd);
}

static int attach_socket(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    link->target_fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    if (link->target_fd < 0)
        return -errno;
    if (setsockopt(place->fd, SOL_SOCKET, (int)place->flags, &program_fd, sizeof program_fd) != 0) {
        int error = -errno;
        close(link->target_fd);
        return error;
    }
    link->attach_type = place->flags;
    link->undo = detach_socket;
    return 0;
}

/* ---- TC before kernel 6.6: a filter, which stays until somebody removes it ---- */

static struct bpf_tc_hook hook_of(const wbpf_tc_filter *filter)
{
    return (struct bpf_tc_hook){.sz = sizeof(struct bpf_tc_hook),
                                .ifindex = filter->ifindex,
                                .attach_point = (enum bpf_tc_attach_point)filter->direction};
}

int wbpf_tc_filter_remove(const wbpf_tc_filter *filter)
{
    struct bpf_tc_hook hook = hook_of(filter);
    LIBBPF_OPTS(bpf_tc_opts, found, .handle = filter->handle, .priority = filter->priority);
    struct log quiet = {0};
    libbpf_listen(&quiet);
    int error = libbpf()->bpf_tc_query(&hook, &found);
    if (!error && found.prog_id != filter->program_id)
        error = -ENOENT;
    LIBBPF_OPTS(bpf_tc_opts, gone, .handle = filter->handle, .priority = filter->priority);
    if (!error)
        error = libbpf()->bpf_tc_detach(&hook, &gone);
    libbpf_listen(NULL);
    free(quiet.text);
    return error == -ENODEV || error == -EINVAL ? -ENOENT : error;
}

static void detach_tc(wbpf_link *link)
{
    wbpf_tc_filter_remove(&link->tc);
}

static int attach_tc(int program_fd, const wbpf_place *place, wbpf_link *link)
{
    link->tc = (wbpf_tc_filter){.ifindex = place->fd, .direction = place->flags};
    struct bpf_tc_hook hook = hook_of(&link->tc);
    int error = libbpf()->bpf_tc_hook_create(&hook);
    if (error && error != -EEXIST)
        return error;
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd);
    error = libbpf()->bpf_tc_attach(&hook, &options);
    if (error)
        return error;
    link->tc.handle = options.handle;
    link->tc.priority = options.priority;
    link->tc.program_id = options.prog_id;
    link->undo = detach_tc;
    return 0;
}

/* ---- what libbpf does ---- */

static struct bpf_link *attach_kprobe_multi(const struct bpf_program *program, const wbpf_place *place)
{
    const uint64_t cookies[] = {place->cookie};
    const char *names[] = {place->name};
    bool is_glob = strpbrk(place->name, "*?") != NULL;
    LIBBPF_OPTS(bpf_kprobe_multi_opts, options, .retprobe = place->is_return);
    if (!is_glob) {
        options.syms = names;
        options.cnt = 1;
        options.cookies = place->cookie ? (const __u64 *)cookies : NULL;
    } else if (place->cookie) {
        errno = EOPNOTSUPP; /* libbpf does not know how many cookies that takes */
        return NULL;
    }
    return libbpf()->bpf_program__attach_kprobe_multi_opts(program, is_glob ? place->name : NULL, &options);
}

static struct bpf_link *attach_uprobe(const struct bpf_program *program, const wbpf_place *place)
{
    LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = place->cookie, .retprobe = place->is_return,
                .func_name = place->name);
    return libbpf()->bpf_program__attach_uprobe_opts(program, place->pid, place->path, place->offset,
                                                     &options);
}

static struct bpf_link *attach_trace(const struct bpf_program *program, const wbpf_place *place)
{
    LIBBPF_OPTS(bpf_trace_opts, options, .cookie = place->cookie);
    if (!place->cookie && libbpf()->bpf_program__type(program) == BPF_PROG_TYPE_LSM)
        return libbpf()->bpf_program__attach_lsm(program);
    return libbpf()->bpf_program__attach_trace_opts(program, place->cookie ? &options : NULL);
}

static struct bpf_link *attach_by_libbpf(const struct bpf_program *program, const wbpf_place *place)
{
    const struct libbpf *lib = libbpf();
    LIBBPF_OPTS(bpf_kprobe_opts, kprobe, .bpf_cookie = place->cookie, .offset = place->offset,
                .retprobe = place->is_return);
    LIBBPF_OPTS(bpf_ksyscall_opts, ksyscall, .bpf_cookie = place->cookie, .retprobe = place->is_return);
    LIBBPF_OPTS(bpf_usdt_opts, usdt, .usdt_cookie = place->cookie);
    LIBBPF_OPTS(bpf_perf_event_opts, perf_event, .bpf_cookie = place->cookie);
    switch (place->kind) {
    case WBPF_PLACE_TRACE:
        return attach_trace(program, place);
    case WBPF_PLACE_KPROBE:
        return lib->bpf_program__attach_kprobe_opts(program, place->name, &kprobe);
    case WBPF_PLACE_KPROBE_MULTI:
        return attach_kprobe_multi(program, place);
    case WBPF_PLACE_KSYSCALL:
        return lib->bpf_program__attach_ksyscall(program, place->name, &ksyscall);
    case WBPF_PLACE_UPROBE:
        return attach_uprobe(program, place);
    case WBPF_PLACE_USDT:
        return lib->bpf_program__attach_usdt(program, place->pid, place->path, place->provider, place->name,
                                             &usdt);
    case WBPF_PLACE_PERF_EVENT:
        return lib->bpf_program__attach_perf_event_opts(program, place->fd, &perf_event);
    default:
        return lib->bpf_program__attach(program);
    }
}

static int attach(const struct bpf_program *program, const wbpf_place *place, wbpf_link *link)
{
    int fd = libbpf()->bpf_program__fd(program);
    if (fd < 0)
        return -EBADF;
    switch (place->kind) {
    case WBPF_PLACE_RAW_TRACEPOINT:
        return attach_raw_tracepoint(fd, place, link);
    case WBPF_PLACE_LINK:
        return attach_link(fd, place, link);
    case WBPF_PLACE_ITER:
        return attach_iter(fd, place, link);
    case WBPF_PLACE_SOCKMAP:
        return attach_sockmap(fd, place, link);
    case WBPF_PLACE_SOCKET:
        return attach_socket(fd, place, link);
    case WBPF_PLACE_TC:
        return attach_tc(fd, place, link);
    default:
        link->bpf = attach_by_libbpf(program, place);
        return link->bpf ? 0 : -errno;
    }
}

int wbpf_object_attach(wbpf_object *object, const char *name, const wbpf_place *place, wbpf_link **out)
{
    struct bpf_program *program = libbpf()->bpf_object__find_program_by_name(object->bpf, name);
    wbpf_link *link = program ? calloc(1, sizeof *link) : NULL;
    if (!link)
        return program ? -ENOMEM : -ENOENT;
    link->fd = -1;
    libbpf_listen(&object->log);
    int error = attach(program, place, link);
    libbpf_listen(NULL);
    if (error) {
        free(link);
        return error;
    }
    *out = link;
    return 0;
}

int wbpf_object_attach_struct_ops(wbpf_object *object, const char *name, wbpf_link **out)
{
    const struct libbpf *lib = libbpf();
    struct bpf_map *map = lib->bpf_object__find_map_by_name(object->bpf, name);
    if (!map)
        return -ENOENT;
    if (!(lib->bpf_map__map_flags(map) & MAP_FLAG_LINK))
        return -EOPNOTSUPP;
    wbpf_link *link = calloc(1, sizeof *link);
    if (!link)
        return -ENOMEM;
    libbpf_listen(&object->log);
    struct bpf_link *prepared = lib->bpf_map__attach_struct_ops(map);
    int error = prepared ? 0 : -errno;
    libbpf_listen(NULL);
    if (!error) { /* of a map with that flag libbpf only fills in the operations: a link makes them known */
        union bpf_attr attr = {
            .link_create = {.prog_fd = (uint32_t)lib->bpf_map__fd(map), .attach_type = ATTACH_STRUCT_OPS}};
        lib->bpf_link__disconnect(prepared);
        lib->bpf_link__destroy(prepared);
        error = create_link(&attr, link);
    }
    if (error)
        free(link);
    else
        *out = link;
    return error;
}

void wbpf_link_destroy(wbpf_link *link)
{
    if (link->undo)
        link->undo(link);
    if (link->fd >= 0)
        close(link->fd);
    if (link->bpf)
        libbpf()->bpf_link__destroy(link->bpf);
    free(link);
}

int wbpf_link_fd(const wbpf_link *link)
{
    return link->bpf ? libbpf()->bpf_link__fd(link->bpf) : link->fd;
}

bool wbpf_link_tc_filter(const wbpf_link *link, wbpf_tc_filter *out)
{
    *out = link->tc;
    return link->undo == detach_tc;
}

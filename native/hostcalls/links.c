/* Attaching programs of a guest: section and target to places, for the kinds that start fast. The others are
 * attached by Python (src/wbpf/bpf/attaching.py), as the module's plan says. */
#include "host.h"
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum how { AT_TRACEPOINT, AT_RAW_TRACEPOINT, AT_AIMED, AT_KPROBE, AT_KSYSCALL, AT_XDP, AT_PATH, AT_NOTHING };

enum { NOT_SUPPORTED = -524 }; /* ENOTSUPP, which user space has no name for */
enum { PERF_TRACEPOINT = 2, XDP_ATTACH = 37, XDP_GENERIC = 2, XDP_NATIVE = 4, XDP_OFFLOAD = 8 };

struct section {
    const char *head;
    enum how how;
    bool is_return;
};

/* As `_SECTIONS` of src/wbpf/bpf/target.py has them; `wbpf.wasm.plan` knows which are here. */
static const struct section sections[] = {
    {"tracepoint", AT_TRACEPOINT, false},
    {"tp", AT_TRACEPOINT, false},
    {"raw_tracepoint", AT_RAW_TRACEPOINT, false},
    {"raw_tracepoint.w", AT_RAW_TRACEPOINT, false},
    {"raw_tp", AT_RAW_TRACEPOINT, false},
    {"raw_tp.w", AT_RAW_TRACEPOINT, false},
    {"tp_btf", AT_AIMED, false},
    {"fentry", AT_AIMED, false},
    {"fentry.s", AT_AIMED, false},
    {"fexit", AT_AIMED, false},
    {"fexit.s", AT_AIMED, false},
    {"fmod_ret", AT_AIMED, false},
    {"fmod_ret.s", AT_AIMED, false},
    {"lsm", AT_AIMED, false},
    {"lsm.s", AT_AIMED, false},
    {"kprobe", AT_KPROBE, false},
    {"kretprobe", AT_KPROBE, true},
    {"ksyscall", AT_KSYSCALL, false},
    {"kretsyscall", AT_KSYSCALL, true},
    {"xdp", AT_XDP, false},
    {"xdp.frags", AT_XDP, false},
    {"cgroup", AT_PATH, false},
    {"cgroup_skb", AT_PATH, false},
    {"sockops", AT_PATH, false},
    {"sk_lookup", AT_PATH, false},
};

/* One call: its parts so far, of which none stays if one can't be attached. */
struct attaching {
    struct wbpf_host *host;
    struct held *held;
    const wbpf_program_info *program;
    const char *target;
    uint64_t cookie;
    wbpf_link **parts;
    uint32_t part_count;
};

/* ---- what it may ---- */

static const char *plain_section(const char *section)
{
    return *section == '?' ? section + 1 : section;
}

static const char *short_head(const char *head)
{
    return strcmp(head, "tracepoint") == 0 ? "tp" : strcmp(head, "raw_tracepoint") == 0 ? "raw_tp" : head;
}

static bool matches(const struct wbpf_host *host, const char *place)
{
    for (uint32_t i = 0; i < host->spec->place_count; i++) {
        const char *pattern = host->spec->places[i];
        size_t head = strcspn(place, "/");
        if (fnmatch(pattern, place, FNM_NOESCAPE) == 0 ||
            (!strchr(pattern, '/') && strlen(pattern) == head && memcmp(place, pattern, head) == 0))
            return true;
    }
    return false;
}

/* The next of several targets, without the spaces around it; a comma behind a backslash parts nothing. */
static char *next_part(char **rest)
{
    char *start = *rest, *end = start;
    while (*end && !(*end == ',' && (end == start || end[-1] != '\\')))
        end++;
    *rest = *end ? end + 1 : NULL;
    *end = 0;
    while (*start == ' ' || (*start >= '\t' && *start <= '\r'))
        start++;
    while (end > start && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r')))
        *--end = 0;
    return start;
}

static void unescape(char *text)
{
    char *to = text;
    for (; *text; text++)
        if (!(text[0] == '\\' && text[1] == ','))
            *to++ = *text;
    *to = 0;
}

static int64_t check_places(const struct attaching *one)
{
    char head[128], place[HOST_TEXT_BYTES + 128], *copy, *rest;
    const char *section = plain_section(one->program->section), *behind = strchr(section, '/');
    bool may = true;
    snprintf(head, sizeof head, "%.*s", (int)strcspn(section, "/"), section);
    if (!*one->target) {
        snprintf(place, sizeof place, "%s%s", short_head(head), behind && behind[1] ? behind : "");
        may = matches(one->host, place);
    } else if (!(copy = rest = strdup(one->target))) {
        return -ENOMEM;
    } else {
        while (rest && may) {
            char *part = next_part(&rest), *colon = strchr(part, ':');
            if (colon && strcmp(short_head(head), "tp") == 0)
                *colon = '/';
            snprintf(place, sizeof place, "%s/%s", short_head(head), part);
            may = matches(one->host, place);
        }
        free(copy);
    }
    if (may || one->host->spec->may_all)
        return 0;
    host_fail(one->host, "place", -EPERM);
    host_add_text(one->host, one->program->name);
    host_add_text(one->host, one->program->section);
    host_add_text(one->host, one->target);
    return -EPERM;
}

/* ---- failures ---- */

/* `stage`: how far it came: "target" is what Python says of it before it asks the kernel. */
static int64_t fail(struct attaching *one, const char *stage, const char *where, int error)
{
    struct wbpf_host *host = one->host;
    host_fail(host, "attach", error);
    host_add_text(host, stage);
    host_add_text(host, one->program->name);
    host_add_text(host, one->program->section);
    host_add_number(host, one->program->type);
    host_add_number(host, one->program->attach_type);
    host_add_text(host, one->target);
    host_add_number(host, (int64_t)one->cookie);
    host_add_text(host, where);
    host_add_text(host, wbpf_object_log(one->held->object));
    return host_answer(host, error == NOT_SUPPORTED ? -EOPNOTSUPP : error);
}

/* ---- places ---- */

static int64_t add_part(struct attaching *one, const char *where, wbpf_place *place)
{
    wbpf_link **more = realloc(one->parts, (one->part_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    one->parts = more;
    place->cookie = one->cookie;
    int error =
        wbpf_object_attach(one->held->object, one->program->name, place, &one->parts[one->part_count]);
    if (error)
        return fail(one, "refused", where, error);
    one->part_count++;
    return 0;
}

/* The number by which perf events know a tracepoint. */
static int64_t tracepoint_id(const char *category, const char *name)
{
    char path[512], number[24];
    int folder = wbpf_tracefs_open();
    if (folder < 0)
        return folder;
    int bytes = snprintf(path, sizeof path, "events/%s/%s/id", category, name);
    int fd = bytes < (int)sizeof path ? openat(folder, path, O_RDONLY | O_CLOEXEC) : -1;
    int64_t result = fd < 0 ? -errno : 0;
    close(folder);
    if (fd < 0)
        return result;
    ssize_t size = read(fd, number, sizeof number - 1);
    close(fd);
    number[size > 0 ? size : 0] = 0;
    return size > 0 ? strtoll(number, NULL, 10) : -EIO;
}

static int64_t attach_tracepoint(struct attaching *one, char *where)
{
    char *colon = strchr(where, ':');
    if (!colon || colon == where || !colon[1] || strchr(colon + 1, ':'))
        return fail(one, "target", where, -EINVAL);
    *colon = 0;
    int64_t id = tracepoint_id(where, colon + 1);
    *colon = ':';
    if (id < 0)
        return fail(one, "target", where, id == -EACCES || id == -EPERM ? -EPERM : -EINVAL);
    int fd = wbpf_perf_event_open(PERF_TRACEPOINT, (uint64_t)id, 0, -1, 0);
    if (fd < 0)
        return fail(one, "refused", where, fd);
    wbpf_place place = {.kind = WBPF_PLACE_PERF_EVENT, .fd = fd, .pid = -1};
    int64_t error = add_part(one, where, &place);
    if (error)
        close(fd);
    return error;
}

/* Cut `+OFFSET` off a name. */
static uint64_t take_offset(char *name)
{
    char *plus = strrchr(name, '+'), *end;
    if (!plus || plus[1] < '0' || plus[1] > '9')
        return 0;
    uint64_t offset = strtoull(plus + 1, &end, plus[1] == '0' && (plus[2] | 32) == 'x' ? 16 : 10);
    if (*end)
        return 0;
    *plus = 0;
    return offset;
}

static int64_t attach_function(struct attaching *one, const struct section *section, char *name)
{
    wbpf_place place = {.name = name, .pid = -1, .is_return = section->is_return};
    if (section->how == AT_KPROBE && !section->is_return)
        place.offset = take_offset(name);
    if (!*name || strpbrk(name, " \t\n\v\f\r:/@+"))
        return fail(one, "target", name, -EINVAL);
    const char *aimed = strchr(one->program->section, '/');
    switch (section->how) {
    case AT_AIMED:
        if (aimed && aimed[1] && strcmp(aimed + 1, name) != 0)
            return fail(one, "target", name, -EINVAL);
        place.kind = WBPF_PLACE_TRACE;
        break;
    case AT_RAW_TRACEPOINT:
        place.kind = WBPF_PLACE_RAW_TRACEPOINT;
        break;
    case AT_KSYSCALL:
        place.kind = WBPF_PLACE_KSYSCALL;
        break;
    default:
        place.kind = WBPF_PLACE_KPROBE;
    }
    return add_part(one, name, &place);
}

static int64_t attach_xdp(struct attaching *one, char *interface)
{
    static const struct {
        const char *name;
        uint32_t flags;
    } modes[] = {{"generic", XDP_GENERIC}, {"native", XDP_NATIVE}, {"offload", XDP_OFFLOAD}};
    wbpf_place place = {.kind = WBPF_PLACE_LINK, .attach_type = XDP_ATTACH, .pid = -1};
    char *mode = strchr(interface, ':');
    if (mode) {
        *mode++ = 0;
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
            if (strcmp(mode, modes[i].name) == 0)
                place.flags = modes[i].flags;
        if (!place.flags)
            return fail(one, "target", interface, -EINVAL);
    }
    place.fd = *interface ? (int)if_nametoindex(interface) : 0;
    if (!place.fd)
        return fail(one, "target", interface, *interface ? -ENOENT : -EINVAL);
    return add_part(one, interface, &place);
}

static int64_t attach_path(struct attaching *one, const char *path)
{
    int fd = *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return fail(one, "target", path, *path ? -errno : -EINVAL);
    wbpf_place place = {
        .kind = WBPF_PLACE_LINK, .fd = fd, .attach_type = one->program->attach_type, .pid = -1};
    int64_t error = add_part(one, path, &place);
    close(fd);
    return error;
}

static const struct section *find_section(const char *section)
{
    static const struct section other = {"", AT_NOTHING, false};
    const char *plain = plain_section(section);
    size_t head = strcspn(plain, "/");
    const char *behind = plain[head] ? plain + head + 1 : "";
    size_t second = strcspn(behind, "/");
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        const struct section *one = &sections[i];
        if (strlen(one->head) != head || memcmp(one->head, plain, head) != 0)
            continue;
        bool is_called = one->how == AT_XDP && second == 6 &&
                         (memcmp(behind, "devmap", 6) == 0 || memcmp(behind, "cpumap", 6) == 0);
        return is_called ? &other : one;
    }
    return &other;
}

static int64_t attach_one(struct attaching *one, const struct section *section, char *where)
{
    switch (section->how) {
    case AT_TRACEPOINT:
        return attach_tracepoint(one, where);
    case AT_XDP:
        return attach_xdp(one, where);
    case AT_PATH:
        return attach_path(one, where);
    case AT_NOTHING:
        if (*where)
            return fail(one, "target", where, -EINVAL);
        wbpf_place place = {.kind = WBPF_PLACE_SECTION, .pid = -1};
        return add_part(one, one->program->section, &place);
    default:
        return attach_function(one, section, where);
    }
}

/* What the section itself names. */
static char *own_target(const struct section *section, const char *text)
{
    const char *behind = strchr(text, '/');
    if (section->how >= AT_XDP || !behind)
        return strdup("");
    char *copy = strdup(behind + 1), *slash = copy ? strchr(copy, '/') : NULL;
    if (slash && section->how == AT_TRACEPOINT)
        *slash = ':';
    return copy;
}

int64_t host_attach(struct wbpf_host *host, struct held *held, const wbpf_program_info *program,
                    const char *target, uint64_t cookie)
{
    struct attaching one = {
        .host = host, .held = held, .program = program, .target = target, .cookie = cookie};
    const struct section *section = find_section(program->section);
    int64_t error = check_places(&one);
    if (error)
        return error;
    char *where = *target ? strdup(target) : own_target(section, program->section), *rest = where;
    if (!where)
        return -ENOMEM;
    while (rest && !error) {
        char *part = next_part(&rest);
        unescape(part);
        error = attach_one(&one, section, part);
    }
    free(where);
    int32_t handle = error ? 0 : wbpf_guest_add(host->guest, 'l', held->handle);
    if (handle <= 0) {
        struct thing undone = {.parts = one.parts, .part_count = one.part_count};
        host_detach(&undone);
        return error ? error : WBPF_GUEST_END;
    }
    host_keep(host, 'l', handle, held, "");
    host->things[place_of(handle)].parts = one.parts;
    host->things[place_of(handle)].part_count = one.part_count;
    return handle;
}

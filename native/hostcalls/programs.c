/* Programs of a guest: found, chosen, attached and run. */
#include "host.h"
#include <errno.h>
#include <string.h>

bool host_find_program(const struct held *held, const char *name, wbpf_program_info *out)
{
    for (uint32_t i = 0; wbpf_object_program(held->object, i, out) == 0; i++)
        if (!*name || strcmp(out->name, name) == 0)
            return true;
    return false;
}

static int64_t fail_program(struct wbpf_host *host, const struct held *held, const wbpf_guest_argument *name)
{
    wbpf_program_info program;
    host_fail_missing(host, "program", held->name, name);
    for (uint32_t i = 0; wbpf_object_program(held->object, i, &program) == 0; i++)
        host_add_text(host, program.name);
    return -ENOENT;
}

int64_t answer_program_find(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(held, text_of(&arguments[1], room), &program))
        return fail_program(host, held, &arguments[1]);
    int32_t handle = host_find_kept(host, 'p', held, program.name);
    if (!handle)
        handle = host_keep(host, 'p', wbpf_guest_add(host->guest, 'p', held->handle), held, program.name);
    return handle < 0 ? WBPF_GUEST_END : handle;
}

int64_t answer_program_autoload(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *program = thing_of(host, arguments);
    if (program->held->is_loaded)
        return -EBUSY;
    int error = wbpf_object_autoload(program->held->object, program->name, arguments[1].number != 0);
    return error ? host_refuse_number(host, "program '%s' can't be chosen", program->name, error) : 0;
}

int64_t answer_program_attach(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(thing->held, thing->name, &program) || !program.autoload)
        return -EOPNOTSUPP;
    return host_attach(host, thing->held, &program, text_of(&arguments[1], room),
                       (uint64_t)arguments[2].number);
}

int64_t answer_wasm_attach_bpf_program(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct held *held = host_held_of(host, arguments);
    char room[HOST_TEXT_BYTES];
    wbpf_program_info program;
    if (!host_find_program(held, text_of(&arguments[1], room), &program))
        return fail_program(host, held, &arguments[1]);
    bool takes_target = strcmp(program.section, "sockops") == 0 || strcmp(program.section, "xdp") == 0;
    return host_attach(host, held, &program, takes_target ? text_of(&arguments[2], room) : "", 0);
}

int64_t answer_program_run(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *thing = thing_of(host, arguments);
    wbpf_guest_argument *context = &arguments[1], *input = &arguments[2], *output = &arguments[3];
    wbpf_program_info program;
    if (!host_find_program(thing->held, thing->name, &program) || program.fd < 0)
        return host_refuse(host, "program '%s' can't be used", thing->name,
                           thing->held->is_loaded ? "its autoload was off" : "its object is not loaded",
                           -EINVAL);
    bool has_data = input->bytes > 0;
    wbpf_program_run_spec run = {
        .data = has_data ? input->data : NULL,
        .data_bytes = input->bytes,
        .context = context->bytes ? context->data : NULL,
        .context_bytes = context->bytes,
        .data_out = has_data && output->bytes ? output->data : NULL,
        .data_out_bytes = has_data ? output->bytes : 0,
        .context_out = has_data && context->bytes ? context->data : NULL,
        .context_out_bytes = has_data ? context->bytes : 0,
    };
    int error = wbpf_program_run(program.fd, &run);
    if (error)
        return host_refuse_number(host, "program '%s' can't be run", thing->name, error);
    uint32_t written = run.data_out_bytes < output->bytes ? run.data_out_bytes : output->bytes;
    struct abi_run result = {run.result, run.duration_ns, has_data ? written : 0, 0};
    memcpy(arguments[4].data, &result, sizeof result);
    return 0;
}

int64_t answer_link_detach(struct wbpf_host *host, wbpf_guest_argument *arguments)
{
    struct thing *link = thing_of(host, arguments);
    wbpf_guest_release(host->guest, link->handle);
    host_detach(link);
    return 0;
}

/* What the recorder is opened with: options, the environment, defaults. */
#include "opening.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

static bool name_is_safe(const char *name)
{
    return *name && *name != '.' && strlen(name) < 64 && !strchr(name, '/') && !strchr(name, '\n');
}

static long long env_number(const char *name, long long fallback)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return fallback;
    long long value = strtoll(text, &end, 10);
    return *end || value < 0 ? -1 : value;
}

unsigned wbpf_level_named(const char *name)
{
    static const struct {
        const char *name;
        unsigned level;
    } levels[] = {{"trace", WBPF_LEVEL_TRACE}, {"debug", WBPF_LEVEL_DEBUG}, {"info", WBPF_LEVEL_INFO},
                  {"warn", WBPF_LEVEL_WARN},   {"error", WBPF_LEVEL_ERROR}, {"fatal", WBPF_LEVEL_FATAL},
                  {"off", WBPF_LEVEL_OFF}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcasecmp(name, levels[i].name) == 0)
            return levels[i].level;
    return 0;
}

/* A name of a level, or a number. */
static long long env_level(void)
{
    const char *text = getenv("WBPF_LEVEL");
    unsigned level = text ? wbpf_level_named(text) : 0;
    return level ? level : env_number("WBPF_LEVEL", 0);
}

int recorder_options(const wbpf_options *options, wbpf_options *out, char *directory, char *host,
                     char *service)
{
    *out = options ? *options : (wbpf_options){0};
    const char *text = out->directory ? out->directory : getenv("WBPF_DIR");
    if (text && *text)
        snprintf(directory, PATH_BYTES / 2, "%s", text);
    else
        snprintf(directory, PATH_BYTES / 2, "/dev/shm/wbpf-%u", (unsigned)getuid());
    text = out->host ? out->host : getenv("WBPF_HOST");
    if (text && *text)
        snprintf(host, 256, "%s", text);
    else if (gethostname(host, 255) != 0)
        snprintf(host, 256, "localhost");
    host[255] = 0;
    text = out->service ? out->service : getenv("WBPF_SERVICE");
    snprintf(service, 256, "%s", text && *text ? text : program_invocation_short_name);
    if (!name_is_safe(host))
        return recorder_fail(
            -EINVAL, "'%s' is no name for a host: 1 to 63 characters, no '/', no '.' in front; set WBPF_HOST",
            host);
    if (!name_is_safe(service))
        return recorder_fail(
            -EINVAL,
            "'%s' is no name for a service: 1 to 63 characters, no '/', no '.' in front; set WBPF_SERVICE",
            service);
    long long mib = out->size_mib ? out->size_mib : env_number("WBPF_SEGMENT_MB", 64);
    long long level = out->level ? out->level : env_level();
    if (mib < 1 || mib > 1 << 20)
        return recorder_fail(-EINVAL, "the segment's size must be 1 to 1048576 MiB: see WBPF_SEGMENT_MB");
    if (level < 0 || level > WBPF_LEVEL_OFF)
        return recorder_fail(-EINVAL,
                             "the level must be trace, debug, info, warn, error, fatal, off, or a number to "
                             "255: see WBPF_LEVEL");
    out->size_mib = (uint32_t)mib;
    out->level = (uint32_t)level;
    out->chunk_bytes = out->chunk_bytes ? out->chunk_bytes : WBPF_MAX_CHUNK_BYTES;
    if (out->chunk_bytes < 1024 || out->chunk_bytes > WBPF_MAX_CHUNK_BYTES || out->chunk_bytes % 8)
        return recorder_fail(-EINVAL, "chunk_bytes must be a multiple of 8 from 1024 to 65528");
    return 0;
}

/* Helpers that put values into texts (kernel: bpf_bprintf_prepare). */
#include "user/helpers.h"
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define HELPER(name)                                                                                         \
    static uint64_t name(struct wbpf_env UNUSED *env, uint64_t UNUSED r1, uint64_t UNUSED r2,                \
                         uint64_t UNUSED r3, uint64_t UNUSED r4, uint64_t UNUSED r5)
#define MEMORY(r)    ((void *)(uintptr_t)(r))
#define ADDRESS(p)   ((uint64_t)(uintptr_t)(p))
#define ANSWER(code) ((uint64_t)(int64_t)(code))

enum { READ_STR = 114, VALUES_MOST = 12, PRINTK_MOST = 3, TEXT_MOST = 512 };

/* Where a text goes; `used` counts on when there is no room. */
struct out {
    char *text;
    size_t room, used;
};

static void put(struct out *out, const char *text, size_t bytes)
{
    size_t left = out->used < out->room ? out->room - out->used : 0;
    if (left)
        memcpy(out->text + out->used, text, bytes < left ? bytes : left);
    out->used += bytes;
}

static void put_text(struct out *out, struct wbpf_env *env, uint64_t address, size_t width)
{
    char text[TEXT_MOST];
    int64_t got = (int64_t)wbpf_user_helper(READ_STR)(env, ADDRESS(text), sizeof text, address, 0, 0);
    if (got < 0) /* as the kernel */
        text[0] = 0;
    for (size_t bytes = strlen(text); bytes < width; bytes++)
        put(out, " ", 1);
    put(out, text, strlen(text));
}

/* One value, whose conversion ends with `kind`; `flags` are what stands between the % and the length. */
static void put_number(struct out *out, const char *flags, size_t bytes, char kind, uint64_t value)
{
    char spec[24] = "%", text[128];
    memcpy(spec + 1, flags, bytes);
    memcpy(spec + 1 + bytes, "ll", 2);
    spec[3 + bytes] = kind;
    int written = snprintf(text, sizeof text, spec, value);
    put(out, text, written < 0 ? 0 : (size_t)written < sizeof text ? (size_t)written : sizeof text - 1);
}

/* Like printf with %d %i %u %x %X (and l, ll), %p %px %pK, %s, %c, %%; -EINVAL: another, or too few values.
 */
static int format_values(struct out *out, struct wbpf_env *env, const char *format, const uint64_t *values,
                         size_t count)
{
    size_t next = 0;
    for (const char *at = format; *at; at++) {
        if (*at != '%') {
            put(out, at, 1);
            continue;
        }
        if (at[1] == '%') {
            put(out, at++, 1);
            continue;
        }
        const char *flags = ++at;
        at += strspn(at, "0+- ");
        size_t width = 0;
        while (isdigit((unsigned char)*at) && width < 100)
            width = width * 10 + (size_t)(*at++ - '0');
        size_t bytes = (size_t)(at - flags);
        if (width >= 100 || bytes > 8 || next == count)
            return -EINVAL;
        uint64_t value = values[next++];
        if (*at == 's') {
            put_text(out, env, value, width);
        } else if (*at == 'c') {
            char one = (char)value;
            put(out, &one, 1);
        } else if (*at == 'p') {
            put_number(out, bytes ? flags : "016", bytes ? bytes : 3, 'x', value);
            at += at[1] == 'x' || at[1] == 'K';
            if (isalnum((unsigned char)at[1])) /* kernel symbols, addresses of networks */
                return -EINVAL;
        } else {
            size_t lengths = strspn(at, "l");
            char kind = at[lengths];
            if (lengths > 2 || !kind || !strchr("diuxX", kind))
                return -EINVAL;
            if (!lengths)
                value = kind == 'd' || kind == 'i' ? ANSWER((int32_t)value) : (uint32_t)value;
            put_number(out, flags, bytes, kind, value);
            at += lengths;
        }
    }
    return 0;
}

/* On standard error, as there is no trace pipe. */
static uint64_t print(struct wbpf_env *env, const char *format, size_t bytes, const uint64_t *values,
                      size_t count)
{
    char text[TEXT_MOST], line[TEXT_MOST];
    struct out out = {line, sizeof line, 0};
    bytes = bytes < sizeof text ? bytes : sizeof text - 1;
    memcpy(text, format, bytes);
    text[bytes] = 0;
    int error = format_values(&out, env, text, values, count);
    if (error)
        return ANSWER(error);
    out.used = out.used < sizeof line ? out.used : sizeof line;
    return write(STDERR_FILENO, line, out.used) < 0 ? ANSWER(-errno) : out.used;
}

HELPER(trace_printk)
{
    const uint64_t values[PRINTK_MOST] = {r3, r4, r5};
    return print(env, MEMORY(r1), r2, values, PRINTK_MOST);
}

/* Values are 8 bytes each, at any address. */
static size_t take_values(uint64_t *values, uint64_t from, uint64_t bytes)
{
    if (bytes % sizeof *values || bytes > VALUES_MOST * sizeof *values)
        return SIZE_MAX;
    if (bytes)
        memcpy(values, MEMORY(from), bytes);
    return bytes / sizeof *values;
}

HELPER(trace_vprintk)
{
    uint64_t values[VALUES_MOST];
    size_t count = take_values(values, r3, (uint32_t)r4);
    return count == SIZE_MAX ? ANSWER(-EINVAL) : print(env, MEMORY(r1), r2, values, count);
}

/* The bytes that there are with the 0 at the end, of which no more than there is room for are written. */
HELPER(format_text)
{
    uint64_t values[VALUES_MOST];
    size_t count = take_values(values, r4, (uint32_t)r5);
    struct out out = {MEMORY(r1), (uint32_t)r2, 0};
    if (out.room)
        memset(out.text, 0, out.room);
    if (count == SIZE_MAX)
        return ANSWER(-EINVAL);
    int error = format_values(&out, env, MEMORY(r3), values, count);
    if (error)
        return ANSWER(error);
    if (out.room)
        out.text[out.used < out.room ? out.used : out.room - 1] = 0;
    return out.used + 1;
}

wbpf_helper wbpf_user_text_helper(int32_t number)
{
    return number == 6 ? trace_printk : number == 165 ? format_text : number == 177 ? trace_vprintk : NULL;
}

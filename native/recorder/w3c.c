/*
 * W3C Trace Context (https://www.w3.org/TR/trace-context/). Our tracestate entry is
 * wbpf=HOSTID-START-LEVEL, in hex: the sending host, when the trace began (ns since 1970), its threshold.
 */
#include "internal.h"
#include <errno.h>
#include <stdio.h>

#define KEY     "wbpf="
#define ENTRIES 32 /* the standard's limit */

void context_mark_remote(wbpf_context *context);

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_bytes(const char *text, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= bytes[i];
    return any == 0;
}

/* The next entry of a tracestate, without the white space around it; NULL at the end. */
static const char *next_entry(const char **rest, size_t *bytes)
{
    const char *at = *rest;
    for (;;) {
        at += strspn(at, ", \t");
        if (!*at)
            return NULL;
        size_t n = strcspn(at, ",");
        *rest = at + n;
        while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
            n--;
        *bytes = n;
        return at;
    }
}

static void read_own_entry(const char *tracestate, wbpf_context *context)
{
    size_t bytes;
    for (const char *entry; (entry = next_entry(&tracestate, &bytes));) {
        unsigned long long host, start;
        unsigned level;
        char copy[64];
        if (bytes <= strlen(KEY) || bytes >= sizeof copy || strncmp(entry, KEY, strlen(KEY)) != 0)
            continue;
        memcpy(copy, entry, bytes);
        copy[bytes] = 0;
        if (sscanf(copy + strlen(KEY), "%16llx-%16llx-%2x", &host, &start, &level) == 3) {
            context->from_host_id = host;
            context->start_unix_ns = start;
            context->level = (uint8_t)level;
        }
        return;
    }
}

int wbpf_extract(const char *traceparent, const char *tracestate, wbpf_context *context)
{
    uint8_t version, span[8];
    *context = (wbpf_context){0};
    if (!traceparent)
        return -EINVAL;
    traceparent += strspn(traceparent, " \t");
    size_t n = strcspn(traceparent, " \t\r\n");
    if (n < 55 || !hex_bytes(traceparent, &version, 1) || version == 0xff || (version == 0 && n != 55) ||
        (n > 55 && traceparent[55] != '-') || traceparent[2] != '-' || traceparent[35] != '-' ||
        traceparent[52] != '-')
        return -EINVAL;
    wbpf_context c = {0};
    if (!hex_bytes(traceparent + 3, c.trace_id, 16) || !hex_bytes(traceparent + 36, span, 8) ||
        !hex_bytes(traceparent + 53, &c.flags, 1) || all_zero(c.trace_id, 16) || all_zero(span, 8))
        return -EINVAL;
    for (int i = 0; i < 8; i++)
        c.span_id = c.span_id << 8 | span[i];
    if (tracestate)
        read_own_entry(tracestate, &c);
    context_mark_remote(&c);
    *context = c;
    return 0;
}

static void write_tracestate(const wbpf_context *context, char *tracestate)
{
    char out[WBPF_TRACESTATE_BYTES];
    size_t used = (size_t)snprintf(out, sizeof out, KEY "%016llx-%016llx-%02x",
                                   (unsigned long long)context->from_host_id,
                                   (unsigned long long)context->start_unix_ns, context->level);
    const char *rest = tracestate;
    size_t bytes;
    int entries = 1;
    tracestate[WBPF_TRACESTATE_BYTES - 1] = 0;
    for (const char *entry; entries < ENTRIES && (entry = next_entry(&rest, &bytes));) {
        if (strncmp(entry, KEY, strlen(KEY)) == 0)
            continue;
        if (used + 1 + bytes >= sizeof out)
            break;
        out[used++] = ',';
        memcpy(out + used, entry, bytes);
        used += bytes;
        entries++;
    }
    out[used] = 0;
    memcpy(tracestate, out, used + 1);
}

int wbpf_inject(const char *peer, char traceparent[WBPF_TRACEPARENT_BYTES],
                char tracestate[WBPF_TRACESTATE_BYTES])
{
    wbpf_context context;
    int error = wbpf_send(peer, &context);
    if (error)
        return error;
    char id[33];
    for (int i = 0; i < 16; i++)
        snprintf(id + 2 * i, 3, "%02x", context.trace_id[i]);
    snprintf(traceparent, WBPF_TRACEPARENT_BYTES, "00-%s-%016llx-%02x", id,
             (unsigned long long)context.span_id, context.flags);
    write_tracestate(&context, tracestate);
    return 0;
}

/* Traces and spans: what is current on a thread, and how it moves between threads and hosts. */
#include "append.h"
#include <errno.h>

#define BEGIN_BYTES 40
#define REMOTE 1 /* wbpf_context.reserved[0]: came from another host; the receiver leaves the breadcrumb */

void context_mark_remote(wbpf_context *context)
{
    context->reserved[0] = REMOTE;
}

static void breadcrumb(struct writer *w, uint64_t ticks, uint64_t peer, uint64_t edge, uint64_t parent,
                       uint32_t direction)
{
    struct wbpf_breadcrumb_payload payload = {
        .peer_host_id = peer, .edge_span_id = edge, .parent_span_id = parent, .direction = direction};
    append_wanted(w, ticks, WBPF_KIND_BREADCRUMB, LEVEL_STRUCTURE, 0, &payload, sizeof payload);
}

void wbpf_begin(wbpf_scope *scope, wbpf_schema name, const wbpf_context *parent)
{
    scope->active = 0;
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    uint64_t ticks = clock_ticks(), parent_span = 0, lo, hi;
    bool remote = false, continued = parent && is_trace(parent);
    scope->outer = w->current;
    if (continued) {
        w->current = *parent;
        w->current.reserved[0] = 0;
        parent_span = parent->span_id;
        remote = parent->reserved[0] == REMOTE;
        id_split(parent->trace_id, &lo, &hi);
    } else {
        lo = writer_random(w);
        hi = writer_random(w);
        w->current = (wbpf_context){.start_unix_ns = writer_unix_ns(w, ticks), .flags = 1};
        id_join(w->current.trace_id, lo, hi);
    }
    w->current.span_id = writer_random(w);
    scope->span_id = w->current.span_id;
    scope->active = 1;
    switch_to(w, lo, hi);
    if (LIKELY(LEVEL_STRUCTURE >= load_relaxed(&w->slot->level))) {
        struct wbpf_begin_payload payload = {scope->span_id, parent_span, w->current.start_unix_ns};
        if (!continued && LIKELY(free_bytes(w) >= RUN_NEW_BYTES + BEGIN_BYTES))
            open_new_run(w, lo, hi);
        append_fixed(w, ticks, WBPF_KIND_BEGIN, LEVEL_STRUCTURE, name, &payload, sizeof payload);
    }
    if (remote)
        breadcrumb(w, ticks, parent->from_host_id, parent_span, 0, WBPF_DIRECTION_IN);
    writer_leave(w);
}

void wbpf_end(wbpf_scope *scope)
{
    struct writer *w = scope->active ? writer_here() : NULL;
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    scope->active = 0;
    if (is_trace(&w->current)) { /* else: a forked child, which took part in nothing */
        append_wanted(w, 0, WBPF_KIND_END, LEVEL_STRUCTURE, 0, &scope->span_id, 8);
        uint64_t lo, hi;
        id_split(scope->outer.trace_id, &lo, &hi);
        w->current = scope->outer;
        switch_to(w, lo, hi);
    }
    writer_leave(w);
}

void wbpf_end_detached(uint64_t span_id, uint64_t parent_span_id)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    if (is_trace(&w->current)) {
        append_wanted(w, 0, WBPF_KIND_END, LEVEL_STRUCTURE, 0, &span_id, 8);
        w->current.span_id = parent_span_id;
        writer_publish(w);
    }
    writer_leave(w);
}

void wbpf_span_begin(wbpf_scope *scope, wbpf_schema name)
{
    scope->active = 0;
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || load_relaxed(&w->slot->level) > WBPF_LEVEL_INFO || !is_trace(&w->current) ||
        !writer_enter(w))
        return;
    scope->outer.span_id = w->current.span_id;
    scope->span_id = writer_random(w);
    scope->active = 1;
    struct wbpf_begin_payload payload = {scope->span_id, w->current.span_id, 0};
    append_wanted(w, 0, WBPF_KIND_SPAN_BEGIN, WBPF_LEVEL_INFO, name, &payload, sizeof payload);
    w->current.span_id = scope->span_id;
    writer_publish(w);
    writer_leave(w);
}

void wbpf_span_end(wbpf_scope *scope)
{
    struct writer *w = scope->active ? writer_here() : NULL;
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    scope->active = 0;
    if (is_trace(&w->current)) {
        append_wanted(w, 0, WBPF_KIND_SPAN_END, LEVEL_STRUCTURE, 0, &scope->span_id, 8);
        w->current.span_id = scope->outer.span_id;
        writer_publish(w);
    }
    writer_leave(w);
}

bool wbpf_current(wbpf_context *context)
{
    struct writer *w = tls_writer;
    bool whole =
        w && w->alive && w->busy != BUSY; /* else: a signal handler inside a call that may change it */
    *context = whole ? w->current : (wbpf_context){0};
    return whole && is_trace(context);
}

void wbpf_detach(wbpf_context *context)
{
    *context = (wbpf_context){0};
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    *context = w->current;
    w->current = (wbpf_context){0};
    writer_switch(w);
    writer_leave(w);
}

void wbpf_attach(const wbpf_context *context)
{
    struct writer *w = writer_here();
    if (UNLIKELY(!w) || !writer_enter(w))
        return;
    w->current = *context;
    w->current.reserved[0] = 0;
    writer_switch(w);
    writer_leave(w);
}

int wbpf_send_id(uint64_t peer_host_id, wbpf_context *context)
{
    *context = (wbpf_context){0};
    struct writer *w = writer_here();
    if (!w || !is_trace(&w->current))
        return -ENOENT;
    if (!writer_enter(w))
        return -EBUSY;
    *context = w->current;
    context->span_id = writer_random(w);
    context->from_host_id = wbpf_own_host_id;
    context_mark_remote(context);
    breadcrumb(w, 0, peer_host_id, context->span_id, w->current.span_id, WBPF_DIRECTION_OUT);
    writer_leave(w);
    return 0;
}

int wbpf_send(const char *peer, wbpf_context *context)
{
    return wbpf_send_id(peer && *peer ? wbpf_host_id(peer) : 0, context);
}

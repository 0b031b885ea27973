/* Plans: numbers and texts one behind the other, each checked against the end of the file. */
#include "launcher.h"
#include <stdlib.h>
#include <string.h>

#define FORMAT 2 /* as in src/wbpf/wasm/plan.py */

struct reader {
    const char *at, *end;
    bool is_damaged;
};

static void take(struct reader *reader, void *out, size_t bytes)
{
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->is_damaged = true;
        memset(out, 0, bytes);
        return;
    }
    memcpy(out, reader->at, bytes);
    reader->at += bytes;
}

static uint32_t take_number(struct reader *reader)
{
    uint32_t number;
    take(reader, &number, sizeof number);
    return number;
}

static uint64_t take_wide(struct reader *reader)
{
    uint64_t number;
    take(reader, &number, sizeof number);
    return number;
}

/* Texts end with a NUL, and have none before. */
static const char *take_text(struct reader *reader)
{
    uint32_t bytes = take_number(reader);
    const char *text = reader->at;
    if (reader->is_damaged || (size_t)(reader->end - reader->at) <= bytes || memchr(text, 0, bytes) ||
        text[bytes] != 0) {
        reader->is_damaged = true;
        return "";
    }
    reader->at += bytes + 1;
    return text;
}

/* How many there are of something that takes 4 bytes at least; memory for them. */
static uint32_t take_count(struct reader *reader, void *out, size_t size)
{
    uint32_t count = take_number(reader);
    if (count > (size_t)(reader->end - reader->at) / 4)
        reader->is_damaged = true;
    if (reader->is_damaged)
        count = 0;
    void *all = calloc(count + 1, size);
    if (!all) {
        reader->is_damaged = true;
        count = 0;
    }
    *(void **)out = all;
    return count;
}

static void take_names(struct reader *reader, struct names *out)
{
    out->count = take_count(reader, &out->at, sizeof *out->at);
    for (uint32_t i = 0; i < out->count; i++)
        out->at[i] = take_text(reader);
}

static void take_param(struct reader *reader, struct plan_param *param)
{
    param->name = take_text(reader);
    param->type = (char)take_number(reader);
    param->is_given = take_number(reader) != 0;
    param->bits = take_wide(reader);
    param->text = take_text(reader);
    param->variable = take_text(reader);
    take_names(reader, &param->programs);
    param->choice_count = take_count(reader, &param->choices, sizeof *param->choices);
    for (uint32_t i = 0; i < param->choice_count; i++) {
        param->choices[i].name = take_text(reader);
        take_names(reader, &param->choices[i].programs);
    }
}

static void take_all(struct reader *reader, struct plan *plan, size_t module_bytes)
{
    plan->library = take_text(reader);
    plan->may_all = take_number(reader) != 0;
    plan->wishes = take_number(reader);
    plan->memory_mib = take_number(reader);
    plan->deadline_ms = take_wide(reader);
    plan->type_count = take_count(reader, &plan->types, sizeof *plan->types);
    for (uint32_t i = 0; i < plan->type_count; i++)
        plan->types[i] = take_number(reader);
    take_names(reader, &plan->places);
    take_names(reader, &plan->network);
    take_names(reader, &plan->environment);
    plan->param_count = take_count(reader, &plan->params, sizeof *plan->params);
    for (uint32_t i = 0; i < plan->param_count; i++)
        take_param(reader, &plan->params[i]);
    plan->object_count = take_count(reader, &plan->objects, sizeof *plan->objects);
    for (uint32_t i = 0; i < plan->object_count; i++) {
        plan->objects[i].name = take_text(reader);
        plan->objects[i].offset = take_number(reader);
        plan->objects[i].bytes = take_number(reader);
        if ((uint64_t)plan->objects[i].offset + plan->objects[i].bytes > module_bytes)
            reader->is_damaged = true;
    }
    plan->event_count = take_count(reader, &plan->events, sizeof *plan->events);
    for (uint32_t i = 0; i < plan->event_count; i++) {
        plan->events[i].name = take_text(reader);
        plan->events[i].bytes = take_number(reader);
        if (!plan->events[i].bytes)
            reader->is_damaged = true;
    }
    take_names(reader, &plan->fields);
}

int plan_read(struct plan *plan, void *content, size_t bytes, size_t module_bytes)
{
    static const char magic[8] = "wbpfplan";
    struct reader reader = {.at = content, .end = (const char *)content + bytes};
    char begin[sizeof magic];
    *plan = (struct plan){.content = content};
    take(&reader, begin, sizeof begin);
    if (memcmp(begin, magic, sizeof magic) != 0 || take_number(&reader) != FORMAT ||
        take_number(&reader) != bytes)
        return -1;
    take_all(&reader, plan, module_bytes);
    return reader.is_damaged || reader.at != reader.end ? -1 : 0;
}

void plan_deinit(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->param_count; i++) {
        struct plan_param *param = &plan->params[i];
        for (uint32_t k = 0; k < param->choice_count; k++)
            free(param->choices[k].programs.at);
        free(param->choices);
        free(param->programs.at);
    }
    free(plan->params);
    free(plan->types);
    free(plan->places.at);
    for (uint32_t i = 0; i < plan->addresses.count; i++)
        free((void *)plan->addresses.at[i]);
    free(plan->addresses.at);
    free(plan->network.at);
    free(plan->environment.at);
    free(plan->fields.at);
    free(plan->objects);
    free(plan->events);
    free(plan->content);
}

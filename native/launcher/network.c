/* Where a module may connect to, by its parameters' values: as src/wbpf/wasm/network.py does it. */
#include "launcher.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(const struct plan *plan, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < plan->param_count; i++)
        if (strlen(plan->params[i].name) == bytes && memcmp(plan->params[i].name, name, bytes) == 0)
            return plan->params[i].text;
    return "";
}

/* A pattern with the values of its `{NAME}`; "" if one of them is empty, NULL if it can't be made. */
static char *filled(const struct plan *plan, const char *pattern)
{
    char *text = NULL;
    size_t size;
    bool is_empty = false;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    while (*pattern) {
        const char *end = *pattern == '{' ? strchr(pattern, '}') : NULL;
        if (!end) {
            fputc(*pattern++, out);
            continue;
        }
        const char *value = value_of(plan, pattern + 1, (size_t)(end - pattern) - 1);
        is_empty |= !*value;
        fputs(value, out);
        pattern = end + 1;
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    if (is_empty)
        *text = 0;
    return text;
}

int network_fill(struct plan *plan)
{
    struct names *out = &plan->addresses;
    out->at = calloc(plan->network.count + 1, sizeof *out->at);
    for (uint32_t i = 0; out->at && i < plan->network.count; i++) {
        char *text = filled(plan, plan->network.at[i]);
        bool is_good = text && (!*text || wbpf_is_address_pattern(text));
        if (is_good && *text)
            out->at[out->count++] = text;
        else
            free(text);
        if (!is_good)
            return -1;
    }
    if (!out->count)
        plan->wishes &= ~(uint32_t)WISH_NETWORK;
    return out->at ? 0 : -1;
}

/* The command line of `wbpf run`, as far as it is plain: src/wbpf/cli/run.py and flags.py have all of it, and
 * the words for what can't be used. */
#include "launcher.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMM_BYTES 16

static const struct flag {
    const char *name;
    char letter;
    bool has_value, is_known; /* others are Python's */
} flags[] = {
    {"output", 'o', true, true},   {"fields", 0, true, true},   {"filter", 0, true, false},
    {"pid", 0, true, true},        {"comm", 0, true, true},     {"cgroup", 0, true, false},
    {"duration", 0, true, true},   {"backend", 0, true, true},  {"btf", 0, true, false},
    {"allow", 0, true, true},      {"memory", 0, true, true},   {"deadline", 0, true, true},
    {"verbose", 'v', false, true}, {"help", 'h', false, false},
};

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* Of a word `--NAME`, `--NAME=VALUE` or `-N`. */
static const struct flag *find_flag(const char *word, size_t name_bytes)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const struct flag *flag = &flags[i];
        if (name_bytes == 2 && flag->letter && word[1] == flag->letter)
            return flag;
        if (name_bytes == 2 + strlen(flag->name) && memcmp(word, "--", 2) == 0 &&
            memcmp(word + 2, flag->name, name_bytes - 2) == 0)
            return flag;
    }
    return NULL;
}

int arguments_find(struct arguments *arguments, char **words, int count)
{
    *arguments = (struct arguments){.words = words, .count = count, .output = "columns", .module = -1};
    int at = 0;
    while (at < count && words[at][0] == '-' && words[at][1]) {
        size_t name = strcspn(words[at], "=");
        const struct flag *flag = find_flag(words[at], name);
        if (!flag || !flag->is_known)
            return -1;
        at += flag->has_value && !words[at][name] ? 2 : 1;
    }
    if (at >= count)
        return -1;
    arguments->module = at;
    return 0;
}

/* ---- values ---- */

/* Digits, at most 18, to the end of the text or to what is behind them. */
static bool read_digits(const char **text, uint64_t *number, uint32_t *digits)
{
    *number = 0;
    for (*digits = 0; **text >= '0' && **text <= '9'; (*text)++, ++*digits)
        if (*digits == 18)
            return false;
        else
            *number = *number * 10 + (uint64_t)(**text - '0');
    return *digits > 0;
}

bool read_duration(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1},         {"us", 1000},        {"ms", 1000000},
                 {"s", 1000000000}, {"m", 60000000000u}, {"h", 3600000000000u}};
    uint64_t whole, part = 0;
    uint32_t digits, behind = 0;
    if (!read_digits(&text, &whole, &digits))
        return false;
    if (*text == '.') {
        text++;
        if (!read_digits(&text, &part, &behind) || behind > 9)
            return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        uint64_t scale = 1;
        while (behind--)
            scale *= 10;
        if (whole > (uint64_t)INT64_MAX / 2 / units[i].ns || part > UINT64_MAX / units[i].ns ||
            part * units[i].ns % scale)
            return false;
        *ns = whole * units[i].ns + part * units[i].ns / scale;
        return true;
    }
    return false;
}

static bool read_count(const char *text, uint32_t most, uint32_t *number)
{
    uint64_t wide;
    uint32_t digits;
    if (!read_digits(&text, &wide, &digits) || *text || !wide || wide > most)
        return false;
    *number = (uint32_t)wide;
    return true;
}

static bool is_word(const char *text, size_t bytes, const char *word)
{
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

static bool read_grants(const char *text, uint32_t *granted)
{
    static const char *const kinds[] = {"programs", "attach", "fs", "network", "env"};
    *granted = strcmp(text, "all") == 0 ? WISH_ALL : 0;
    if (*granted || strcmp(text, "none") == 0)
        return true;
    for (bool more = true; more; text++) {
        size_t bytes = strcspn(text, ",");
        uint32_t kind = 0;
        for (uint32_t i = 0; i < 5; i++)
            if (is_word(text, bytes, kinds[i]))
                kind = 1u << i;
        if (!kind)
            return false;
        *granted |= kind;
        text += bytes;
        more = *text != 0;
    }
    return true;
}

static bool are_fields(const struct plan *plan, const char *text)
{
    for (bool more = true; more; text++) {
        size_t bytes = strcspn(text, ",");
        bool found = false;
        for (uint32_t i = 0; i < plan->fields.count; i++)
            found |= is_word(text, bytes, plan->fields.at[i]);
        if (!found)
            return false;
        text += bytes;
        more = *text != 0;
    }
    return true;
}

static int read_option(struct arguments *arguments, const struct plan *plan, const struct flag *flag,
                       const char *value)
{
    bool good;
    switch (flag->name[0] == 'd' ? flag->name[1] : flag->name[0]) {
    case 'o':
        arguments->output = value;
        good = strcmp(value, "columns") == 0 || strcmp(value, "json") == 0 || strcmp(value, "yaml") == 0;
        break;
    case 'f':
        arguments->fields = value;
        good = are_fields(plan, value);
        break;
    case 'u': /* duration */
        good = read_duration(value, &arguments->duration_ns) && arguments->duration_ns;
        break;
    case 'e': /* deadline */
        arguments->has_deadline = true;
        good = read_duration(value, &arguments->deadline_ns) && arguments->deadline_ns % 1000000 == 0;
        break;
    case 'b':
        good = strcmp(value, "auto") == 0 || strcmp(value, "kernel") == 0;
        break;
    case 'a':
        arguments->has_grants = true;
        good = read_grants(value, &arguments->granted);
        break;
    case 'm':
        good = read_count(value, 1 << 20, &arguments->memory_mib);
        break;
    case 'p':
        good = read_count(value, INT32_MAX, &arguments->pid);
        break;
    case 'c': /* comm */
        arguments->comm = value;
        good = is_plain(value) && strlen(value) < COMM_BYTES;
        break;
    default:
        arguments->verbose = true;
        good = true;
    }
    return good ? 0 : -1;
}

/* ---- parameters ---- */

static bool read_bool(const char *text, uint64_t *bits)
{
    static const char *const words[] = {"false", "no", "off", "0", "true", "yes", "on", "1"};
    for (uint32_t i = 0; i < 8; i++)
        if (strcmp(text, words[i]) == 0) {
            *bits = i >= 4;
            return true;
        }
    return false;
}

static bool read_whole(const char *text, bool is_signed, uint64_t *bits)
{
    bool is_negative = is_signed && *text == '-';
    uint32_t digits;
    text += is_negative;
    if (!read_digits(&text, bits, &digits) || *text)
        return false;
    if (is_negative)
        *bits = -*bits;
    return true;
}

/* The value, and the text that a module asks for. */
static int read_param(struct plan_param *param, const char *text)
{
    const size_t bytes = sizeof param->room;
    char *room = param->room;
    uint64_t bits = 0;
    bool good = false;
    switch (param->type) {
    case 'b':
        good = read_bool(text, &bits);
        snprintf(room, bytes, "%s", bits ? "true" : "false");
        break;
    case 'i':
        good = read_whole(text, true, &bits);
        snprintf(room, bytes, "%lld", (long long)bits);
        break;
    case 'u':
        good = read_whole(text, false, &bits);
        snprintf(room, bytes, "%llu", (unsigned long long)bits);
        break;
    case 'd':
        good = read_duration(text, &bits);
        snprintf(room, bytes, "%llu", (unsigned long long)bits);
        break;
    case 'e':
        for (uint32_t i = 0; i < param->choice_count && !good; i++) {
            good = strcmp(text, param->choices[i].name) == 0;
            bits = i;
        }
        break;
    case 's':
        good = is_plain(text);
        break;
    default: /* numbers with a point */
        break;
    }
    param->bits = bits;
    param->text = param->type == 'e' || param->type == 's' ? text : room;
    param->is_given = true;
    return good ? 0 : -1;
}

static struct plan_param *find_param(struct plan *plan, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < plan->param_count; i++)
        if (is_word(name, bytes, plan->params[i].name))
            return &plan->params[i];
    return NULL;
}

/* A word that begins with a dash; how many words it takes, or -1. */
static int read_flag(struct arguments *arguments, struct plan *plan, const char *word, const char *next)
{
    size_t name = strcspn(word, "=");
    const struct flag *flag = find_flag(word, name);
    const char *value = word[name] ? word + name + 1 : NULL;
    if (flag) {
        if (!flag->is_known || (flag->has_value && !value && !next) || (!flag->has_value && value))
            return -1;
        bool takes_next = flag->has_value && !value;
        return read_option(arguments, plan, flag, takes_next ? next : value) ? -1 : 1 + takes_next;
    }
    if (name < 3 || memcmp(word, "--", 2) != 0)
        return -1;
    bool is_negated = false;
    struct plan_param *param = find_param(plan, word + 2, name - 2);
    if (!param && name > 5 && memcmp(word, "--no-", 5) == 0) {
        param = find_param(plan, word + 5, name - 5);
        is_negated = true;
        if (!param || param->type != 'b')
            return -1;
    }
    if (!param)
        return -1;
    bool takes_next = param->type != 'b' && !value;
    if (takes_next)
        value = next;
    else if (!value)
        value = is_negated ? "false" : "true";
    return value && read_param(param, value) == 0 ? 1 + takes_next : -1;
}

int arguments_read(struct arguments *arguments, struct plan *plan)
{
    int count = arguments->count;
    arguments->guest = calloc((size_t)count + 1, sizeof *arguments->guest);
    if (!arguments->guest)
        return -1;
    for (int i = 0; i < count;) {
        const char *word = arguments->words[i];
        if (strcmp(word, "--") == 0) {
            while (++i < count)
                arguments->guest[arguments->guest_count++] = arguments->words[i];
        } else if (i == arguments->module) {
            i++;
        } else if (word[0] != '-' || !word[1]) {
            arguments->guest[arguments->guest_count++] = word;
            i++;
        } else {
            int taken = read_flag(arguments, plan, word, i + 1 < count ? arguments->words[i + 1] : NULL);
            if (taken < 0)
                return -1;
            i += taken;
        }
    }
    for (uint32_t i = 0; i < plan->param_count; i++)
        if (!plan->params[i].is_given)
            return -1;
    if (network_fill(plan) != 0)
        return -1;
    return plan->wishes & ~(arguments->has_grants ? arguments->granted : 0) ? -1 : 0;
}

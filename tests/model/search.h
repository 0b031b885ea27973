/*
 * Exhaustive search: every state that any interleaving reaches, depth first, each once.
 * A model gives `struct state`, `expand()` and `violation()`. Visited states are kept as 64-bit hashes:
 * of 10^8 states, two fall together with probability 3 in 10^4.
 */
#ifndef WBPF_MODEL_SEARCH_H
#define WBPF_MODEL_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 96 /* that one state may offer */
#define MAX_DEPTH 4096

enum step_kind { ACTS, DIES, DRAINS, READS };

struct step {
    struct state state;
    enum step_kind kind; /* for the trail, and: */
    int actor, detail;
};

/* All steps from a state; returns how many. */
static int expand(const struct state *from, struct step *steps);
/* What is wrong with a state, or NULL; `final`: it offers no step. */
static const char *violation(const struct state *state, bool final);

static struct {
    uint64_t *slots, capacity, used, limit;
    uint64_t steps;
    struct step *path[MAX_DEPTH];
    int place[MAX_DEPTH], depth, deepest;
    const char *wrong;
} search;

static uint64_t hash_state(const struct state *state)
{
    const uint8_t *bytes = (const uint8_t *)state;
    uint64_t hash = 0x9e3779b97f4a7c15ULL, word;
    for (size_t at = 0; at < sizeof *state; at += 8) {
        word = 0;
        memcpy(&word, bytes + at, sizeof *state - at < 8 ? sizeof *state - at : 8);
        __extension__ unsigned __int128 product =
            (unsigned __int128)(hash ^ word) * 0xa0761d6478bd642fULL + (at + 1) * 0xe7037ed1a0b428dbULL;
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return hash ? hash : 1;
}

static bool visit(uint64_t hash)
{
    if (2 * search.used >= search.capacity) {
        uint64_t *old = search.slots, old_capacity = search.capacity;
        search.capacity = old_capacity ? 2 * old_capacity : 1u << 20;
        search.slots = calloc(search.capacity, 8);
        if (!search.slots) {
            fprintf(stderr, "no memory for %llu states\n", (unsigned long long)search.capacity);
            exit(3);
        }
        for (uint64_t i = 0; i < old_capacity; i++)
            if (old[i]) {
                uint64_t at = old[i] & (search.capacity - 1);
                while (search.slots[at])
                    at = (at + 1) & (search.capacity - 1);
                search.slots[at] = old[i];
            }
        free(old);
    }
    uint64_t at = hash & (search.capacity - 1);
    for (; search.slots[at]; at = (at + 1) & (search.capacity - 1))
        if (search.slots[at] == hash)
            return false;
    search.slots[at] = hash;
    search.used++;
    return true;
}

/* True: nothing wrong anywhere. False: search.wrong says what, search.path how it came to that. */
static bool search_all(const struct state *start)
{
    struct step *steps = search.path[0] = malloc(MAX_STEPS * sizeof *steps);
    int counts[MAX_DEPTH];
    visit(hash_state(start));
    counts[0] = expand(start, steps);
    while (search.depth >= 0) {
        int depth = search.depth;
        if (search.place[depth] == counts[depth]) {
            search.depth--;
            if (search.depth >= 0)
                search.place[search.depth]++;
            continue;
        }
        struct state *now = &search.path[depth][search.place[depth]].state;
        search.steps++;
        if (!visit(hash_state(now))) {
            search.place[depth]++;
            continue;
        }
        if (depth + 1 == MAX_DEPTH || search.used > search.limit) {
            fprintf(stderr, "too large: %llu states, depth %d\n", (unsigned long long)search.used, depth);
            exit(3);
        }
        if (!search.path[depth + 1])
            search.path[depth + 1] = malloc(MAX_STEPS * sizeof *steps);
        counts[depth + 1] = expand(now, search.path[depth + 1]);
        if ((search.wrong = violation(now, counts[depth + 1] == 0)))
            return false;
        search.place[++search.depth] = 0;
        search.deepest = search.depth > search.deepest ? search.depth : search.deepest;
    }
    return true;
}

#endif

/*
 * The recorder's protocol (docs/record-format.md: append, take and recycle, read), executable: writers that
 * may die at any step, an agent that flags cleared traces, a reader that searches and then watches. Every
 * interleaving is tried, under weak memory (memory.h).
 *
 * usage: recorder_protocol VARIANT CHUNKS CAPACITY WRITERS RECORDS POLLS DEATHS CLEAR BUFFER SHUFFLE [MAX]
 *   CAPACITY records a chunk; CLEAR 1: the last writer is the agent, and writers may clear their traces;
 *   BUFFER: stores a processor holds back; SHUFFLE 1: the loads of a copy happen in any order, 0: in order
 * Exit status: 0 nothing wrong in any state, 1 something is (the trail is printed), 2 usage, 3 too large.
 */
#include "memory.h"
#include "reader.h"
#include "search.h"
#include "writers.h"

static void offer(struct step *step, enum step_kind kind, int actor, int detail)
{
    step->kind = kind;
    step->actor = actor;
    step->detail = detail;
}

static int expand_writer(const struct state *from, int i, struct step *steps)
{
    int n = 0;
    const struct writer *w = &from->writers[i];
    if (w->at == STOPPED)
        return 0;
    steps[n].state = *from;
    if (step_writer(&steps[n].state, i))
        offer(&steps[n++], ACTS, i, w->at);
    if (w->at == MAY_CLEAR) {
        steps[n].state = *from;
        next_record(&steps[n].state, i);
        offer(&steps[n], ACTS, i, steps[n].state.writers[i].at);
        n++;
    }
    if (from->deaths < model.deaths) {
        steps[n].state = *from;
        stop(&steps[n].state, i);
        steps[n].state.deaths++;
        offer(&steps[n++], DIES, i, w->at);
    }
    return n;
}

static int expand_drains(const struct state *from, int i, struct step *steps)
{
    int n = 0;
    for (int e = 0; e < from->writers[i].buffered; e++)
        if (may_drain(&from->writers[i], e)) {
            steps[n].state = *from;
            drain(&steps[n].state, i, e);
            offer(&steps[n++], DRAINS, i, from->writers[i].buffer[e].place);
        }
    return n;
}

static int expand_reader(const struct state *from, struct step *steps)
{
    const struct reader *r = &from->reader;
    int n = 0;
    if (r->at != READ_COPY) {
        steps[n].state = *from;
        step_reader(&steps[n].state);
        offer(&steps[n++], READS, 0, r->at);
        return n;
    }
    for (int bit = 0; bit < 16; bit++) {
        bool first = !(r->left & ((1u << bit) - 1) & ~COPY_AGAIN);
        if (r->left >> bit & 1 && (first || model.shuffle || 1u << bit == COPY_AGAIN)) {
            steps[n].state = *from;
            step_copy(&steps[n].state, bit);
            offer(&steps[n++], READS, 0, READ_COPY);
        }
    }
    return n;
}

static int expand(const struct state *from, struct step *steps)
{
    int n = 0;
    if (from->bad)
        return 0;
    for (int i = 0; i < model.writers; i++) {
        for (int e = 0; e < from->writers[i].buffered; e++)
            if (is_unseen(from, &from->writers[i].buffer[e]) && may_drain(&from->writers[i], e)) {
                steps[0].state = *from;
                drain(&steps[0].state, i, e);
                offer(&steps[0], DRAINS, i, from->writers[i].buffer[e].place);
                return 1;
            }
        if (is_private(&from->writers[i]))
            return expand_writer(from, i, steps);
    }
    for (int i = 0; i < model.writers; i++) {
        n += expand_writer(from, i, steps + n);
        n += expand_drains(from, i, steps + n);
    }
    if (from->reader.at != READ_DONE)
        n += expand_reader(from, steps + n);
    return n;
}

/* Written, as wbpf_segment_counters() has it. */
static int count_written(const struct state *s)
{
    int written = 0;
    for (int chunk = 0; chunk < model.chunks; chunk++) {
        const uint8_t *m = s->memory[chunk];
        bool odd = generation_of(m[WORD]) & 1 && model.variant != NO_PENDING;
        written += odd ? m[PENDING] : m[RECYCLED] + front_of(m[WORD]);
    }
    return written;
}

/* A new process takes every chunk. What is wrong with the chunks then, if anything. */
static enum wrong take_all(const struct state *final)
{
    struct state s = *final;
    int last = model.writers;
    for (int chunk = 0; chunk < model.chunks; chunk++) {
        struct writer *w = &s.writers[last];
        *w = (struct writer){.at = LOOK, .chunk = (uint8_t)chunk, .tries = (uint8_t)model.chunks};
        while (w->at != PUT_DATA_0) {
            if (!step_writer(&s, last))
                drain(&s, last, 0);
            if (w->chunk != chunk)
                return LEAKED;
        }
        while (w->buffered)
            drain(&s, last, 0);
        if (front_of(s.memory[chunk][WORD]) || generation_of(s.memory[chunk][WORD]) & 1)
            return LEAKED;
    }
    return count_written(&s) == __builtin_popcount(s.published) ? 0 : MISCOUNTED;
}

static const char *violation(const struct state *s, bool final)
{
    if (s->bad || !final)
        return wrongs[s->bad];
    if (count_written(s) != __builtin_popcount(s->published))
        return wrongs[MISCOUNTED];
    return wrongs[take_all(s)];
}

static void print_trail(void)
{
#define TEXT(name, text) text,
    static const char *const places[] = {PLACES_OF_CHUNK(TEXT)}, *const reads[] = {READER_STEPS(TEXT)},
                             *const writes[] = {WRITER_STEPS(TEXT)};
    for (int depth = 0; depth <= search.depth; depth++) {
        const struct step *step = &search.path[depth][search.place[depth]];
        const struct reader *r = &step->state.reader;
        if (step->kind == READS)
            printf("  reader, poll %d: %s\n", r->poll, reads[step->detail]);
        else if (step->kind == DRAINS)
            printf("      %s of chunk %d, stored by writer %d, is in memory\n",
                   step->detail % PLACES < DATA ? places[step->detail % PLACES] : "a byte",
                   step->detail / PLACES, step->actor);
        else
            printf("  writer %d %s%s\n", step->actor, step->kind == DIES ? "dies before it " : "",
                   writes[step->detail]);
    }
}

static bool choose_variant(const char *name)
{
#define WORD_OF(name, word, doc) word,
    static const char *const words[] = {VARIANTS(WORD_OF)};
    for (size_t v = 0; v < sizeof words / sizeof *words; v++)
        if (!strcmp(words[v], name)) {
            model.variant = (enum variant)v;
            return true;
        }
    return false;
}

static int list_variants(void)
{
#define LINE(name, word, doc) "  " word ": " doc "\n"
    fputs(
        "usage: recorder_protocol VARIANT CHUNKS CAPACITY WRITERS RECORDS POLLS DEATHS CLEAR BUFFER SHUFFLE "
        "[MAX_STATES]\nVARIANT is one of\n" VARIANTS(LINE),
        stderr);
    return 2;
}

int main(int argc, char **argv)
{
    int *numbers[] = {&model.chunks, &model.capacity, &model.writers, &model.records, &model.polls,
                      &model.deaths, &model.clear,    &model.buffer,  &model.shuffle};
    struct state start;
    if (argc < 11 || !choose_variant(argv[1]))
        return list_variants();
    for (int n = 0; n < 9; n++)
        *numbers[n] = atoi(argv[n + 2]);
    search.limit = argc > 11 ? strtoull(argv[11], NULL, 10) : 200000000;
    memset(&start, 0, sizeof start);
    for (int i = 0; i <= MAX_WRITERS; i++)
        start.writers[i].at = STOPPED;
    for (int i = 0; i < model.writers; i++) {
        start.writers[i].chunk = NONE;
        if (is_agent(i)) {
            start.writers[i].chunk = 0;
            start.writers[i].at = AGENT_SWAP;
        } else {
            next_record(&start, i);
        }
    }
    if (!model.polls)
        start.reader.at = READ_DONE;
    bool right = search_all(&start);
    printf("%s: %s; %llu states, %llu steps, depth %d\n", argv[1], right ? "nothing wrong" : search.wrong,
           (unsigned long long)search.used, (unsigned long long)search.steps, search.deepest);
    if (!right)
        print_trail();
    return !right;
}

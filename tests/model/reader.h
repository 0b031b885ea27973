/* The reader, native/recorder/watch.c step by step; and what it must never see. */
#ifndef WBPF_MODEL_READER_H
#define WBPF_MODEL_READER_H

#include "memory.h"

static const char *const wrongs[] = {NULL,
                                     "a record is torn",
                                     "a record is shown in another's trace",
                                     "a record is shown as another process's",
                                     "a record has another one's identity",
                                     "a record is shown twice",
                                     "a record is missing and lost_until does not tell",
                                     "written is not resident + recycled",
                                     "a chunk cannot be taken again"};
enum wrong {
    TORN = 1,
    OTHER_TRACE,
    OTHER_PROCESS,
    OTHER_IDENTITY,
    TWICE,
    SILENTLY_MISSING,
    MISCOUNTED,
    LEAKED
};

static void next_chunk(struct reader *r)
{
    r->word = r->slots = r->old_front = r->hint = r->again = r->uses = r->process = r->tries = 0;
    r->left = 0;
    memset(r->data, 0, sizeof r->data);
    memset(r->directory, 0, sizeof r->directory);
    r->at = ++r->chunk == model.chunks ? READ_LOST : READ_WORD;
}

static void parse(struct state *s)
{
    struct reader *r = &s->reader;
    int front = front_of(r->word);
    for (int slot = 0; slot < r->slots; slot++) {
        int trace = r->directory[slot] & 3, from = r->directory[slot] >> 2 & 3;
        int to = slot + 1 < r->slots ? r->directory[slot + 1] >> 2 & 3 : front;
        if (!watched(trace))
            continue;
        for (int unit = from > r->old_front ? from : r->old_front; unit < to && unit < front; unit++) {
            int number = r->data[2 * unit];
            if (!number || number != r->data[2 * unit + 1]) {
                s->bad = TORN;
                continue;
            }
            s->bad = trace_of(number) != trace                             ? OTHER_TRACE
                     : r->process != (number - 1) / model.records + 1      ? OTHER_PROCESS
                     : s->home[number] != home_of(r->chunk, r->uses, unit) ? OTHER_IDENTITY
                     : r->found >> number & 1                              ? TWICE
                                                                           : s->bad;
            r->found |= (uint16_t)(1u << number);
        }
    }
}

static void after_copy(struct state *s)
{
    struct reader *r = &s->reader;
    if (generation_of(r->again) == generation_of(r->word)) {
        if (model.variant == LATE_PROCESS) {
            r->at = READ_PROCESS;
            return;
        }
        parse(s);
        next_chunk(r);
    } else if (++r->tries == 2) {
        next_chunk(r); /* recycled while it was read: lost_until tells */
    } else {
        r->at = READ_WORD;
    }
}

/* Is a load of the copy still to be made: the halves of records, then directory slots, then the rest. */
static void step_copy(struct state *s, int bit)
{
    struct reader *r = &s->reader;
    const uint8_t *m = s->memory[r->chunk];
    uint16_t load = (uint16_t)(1u << bit);
    if (load == COPY_USES)
        r->uses = m[USES];
    else if (load == COPY_PROCESS)
        r->process = m[PROCESS];
    else if (load == COPY_AGAIN)
        r->again = m[WORD];
    else if (bit < 2 * MAX_CAPACITY)
        r->data[bit] = m[DATA + bit];
    else
        r->directory[bit - 2 * MAX_CAPACITY] = m[DIRECTORY + bit - 2 * MAX_CAPACITY];
    r->left &= (uint16_t)~load;
    if (r->left)
        return;
    if (model.variant == NO_READ_FENCE)
        after_copy(s);
    else
        r->at = READ_AGAIN;
}

static void start_copy(struct reader *r)
{
    r->hint = 0;
    r->left = (uint16_t)((1u << 2 * front_of(r->word)) - 1);
    r->left |= (uint16_t)(((1u << r->slots) - 1) << 2 * MAX_CAPACITY);
    r->left |= (uint16_t)(COPY_USES | (model.variant == LATE_PROCESS ? 0 : COPY_PROCESS) |
                          (model.variant == NO_READ_FENCE ? COPY_AGAIN : 0));
    r->at = READ_COPY;
}

static uint16_t watched_of(uint16_t records)
{
    for (int number = 1; number <= model.writers * model.records; number++)
        if (!watched(trace_of(number)))
            records &= (uint16_t)~(1u << number);
    return records;
}

static void step_reader(struct state *s)
{
    struct reader *r = &s->reader;
    const uint8_t *m = r->chunk < model.chunks ? s->memory[r->chunk] : NULL;
    switch ((enum read_at)r->at) {
    case READ_START:
        r->found &= (uint16_t)~s->lost; /* these need no watching any more */
        r->must = watched_of(s->published & (uint16_t)~s->lost);
        r->lost = model.variant == EARLY_LOST ? s->lost : 0;
        r->at = READ_WORD;
        break;
    case READ_WORD: {
        uint8_t old = r->words[r->chunk];
        r->word = m[WORD];
        r->words[r->chunk] = r->word;
        r->slots = (uint8_t)slots_of(r->word);
        r->old_front = generation_of(old) == generation_of(r->word) ? (uint8_t)front_of(old) : 0;
        r->at = model.variant == TWO_WORDS ? READ_SLOTS : READ_HINT;
        if ((old == r->word && r->poll) || generation_of(r->word) & 1 || !front_of(r->word))
            next_chunk(r);
        break;
    }
    case READ_SLOTS:
        r->slots = m[SLOTS];
        r->at = READ_HINT;
        break;
    case READ_HINT:
        if (r->hint == r->slots)
            next_chunk(r);
        else if (watched(m[DIRECTORY + r->hint] & 3))
            start_copy(r);
        else
            r->hint++;
        break;
    case READ_AGAIN:
        r->again = m[WORD];
        after_copy(s);
        break;
    case READ_PROCESS:
        r->process = m[PROCESS];
        parse(s);
        next_chunk(r);
        break;
    case READ_LOST: {
        uint16_t lost = model.variant == EARLY_LOST ? r->lost : s->lost;
        if (r->must & ~(r->found | lost))
            s->bad = SILENTLY_MISSING;
        r->must = r->lost = 0;
        r->chunk = 0;
        r->at = ++r->poll == model.polls ? READ_DONE : READ_START;
        break;
    }
    case READ_COPY:
    case READ_DONE:
        break;
    }
}

#endif

/* Writers, and the agent that flags cleared traces: native/recorder/chunk.c and writer.c, step by step. */
#ifndef WBPF_MODEL_WRITERS_H
#define WBPF_MODEL_WRITERS_H

#include "memory.h"

static uint16_t records_in(const struct state *s, int chunk, int word)
{
    uint16_t mask = 0;
    for (int unit = 0; unit < front_of(word); unit++)
        mask |= (uint16_t)(1u << s->memory[chunk][DATA + 2 * unit]);
    return mask;
}

static int wholly_cleared(const struct state *s, int chunk, int word)
{
    const uint8_t *m = s->memory[chunk];
    int ids = m[IDS], flagged = m[FLAGGED];
    if (!m[CLOSED]) {
        ids = slots_of(word);
        flagged = 0;
        for (int slot = 0; slot < ids; slot++)
            flagged += m[DIRECTORY + slot] / FLAG;
    }
    return flagged >= ids;
}

static void raise_lost(struct state *s, int i)
{
    struct writer *w = &s->writers[i];
    if (!wholly_cleared(s, w->chunk, w->kept))
        s->lost |= records_in(s, w->chunk, w->kept);
}

static void stop(struct state *s, int i)
{
    struct writer *w = &s->writers[i];
    struct writer rest = {.at = STOPPED, .buffered = w->buffered};
    memcpy(rest.buffer, w->buffer, sizeof rest.buffer);
    *w = rest;
}

static void next_record(struct state *s, int i)
{
    struct writer *w = &s->writers[i];
    if (w->record == model.records) {
        if (w->chunk == NONE)
            stop(s, i);
        else
            w->at = CLOSE_IDS;
    } else if (w->chunk == NONE) {
        w->tries = 0;
        w->at = HAND;
    } else {
        w->at = w->front == model.capacity ? CLOSE_IDS : PUT_DATA_0;
    }
}

static void next_try(struct state *s, int i)
{
    struct writer *w = &s->writers[i];
    w->chunk = NONE;
    w->seen = 0;
    if (w->tries < model.chunks) {
        w->at = HAND;
    } else { /* refused */
        w->record++;
        next_record(s, i);
    }
}

static void next_of_agent(struct state *s, int i)
{
    if (++s->writers[i].chunk == model.chunks)
        stop(s, i);
    else
        s->writers[i].at = AGENT_SWAP;
}

/* One step of writer i. Returns 0 if it has to wait for its buffer. */
static int step_writer(struct state *s, int i)
{
    struct writer *w = &s->writers[i];
    uint8_t *m = w->chunk == NONE ? NULL : s->memory[w->chunk];
    int record = record_of(i, w->record);
    if (w->buffered >= model.buffer)
        return 0;
    switch ((enum at)w->at) {
    case HAND:
        w->chunk = s->hand;
        s->hand = (uint8_t)((s->hand + 1) % model.chunks);
        w->tries++;
        w->at = LOOK;
        break;
    case LOOK:
        w->seen = m[OWNER];
        w->at = SWAP_OWNER;
        if (w->seen && (w->seen == i + 1 || (alive(s, w->seen) && model.variant != STEAL)))
            next_try(s, i);
        break;
    case SWAP_OWNER:
        if (w->buffered)
            return 0;
        if (m[OWNER] != w->seen) {
            next_try(s, i);
            break;
        }
        m[OWNER] = (uint8_t)(i + 1);
        w->seen = 0;
        w->at = INSPECT;
        break;
    case INSPECT:
        w->kept = w->word = m[WORD];
        if (model.variant == SKIP_ODD && generation_of(w->word) & 1) {
            m[OWNER] = 0;
            next_try(s, i);
            break;
        }
        if (model.variant == TWO_WORDS)
            w->kept = (uint8_t)word_of(generation_of(w->word), m[SLOTS], front_of(w->word));
        w->at = PUT_FENCE;
        if (generation_of(w->word) & 1)
            break;
        if (model.variant != LATE_LOST)
            raise_lost(s, i);
        w->at = model.variant == NO_PENDING ? PUT_ODD : PUT_PENDING;
        break;
    case PUT_PENDING:
        issue(s, i, RELAXED, PENDING, load(s, i, RECYCLED) + front_of(w->word), 0);
        w->at = PUT_ODD;
        break;
    case PUT_ODD:
        w->word = (uint8_t)word_of(2 * load(s, i, USES) + 1, 0, 0);
        if (model.variant == BUMP_FIRST)
            issue(s, i, RELEASE, WORD,
                  word_of(2 * load(s, i, USES) + 2, slots_of(w->kept), front_of(w->kept)), 0);
        else if (model.variant == BUMP_AND_RESET)
            issue(s, i, RELEASE, WORD, word_of(2 * load(s, i, USES) + 2, 0, 0), 0);
        else if (model.variant == NO_PENDING) /* the counts stay, for whoever adds them */
            issue(s, i, RELEASE, WORD, w->word | (w->kept & 15), 0);
        else
            issue(s, i, RELEASE, WORD, w->word, 0);
        w->at = PUT_FENCE;
        break;
    case PUT_FENCE:
        if (model.variant != NO_ODD_FENCE && w->buffered)
            issue(s, i, FENCE, 0, 0, 0);
        w->at = model.variant == LATE_LOST && !(generation_of(w->kept) & 1) ? RAISE_LATE : PUT_RECYCLED;
        break;
    case RAISE_LATE:
        if (w->buffered)
            return 0;
        raise_lost(s, i);
        w->at = PUT_RECYCLED;
        break;
    case PUT_RECYCLED:
        issue(s, i, RELAXED, RECYCLED,
              model.variant == NO_PENDING ? load(s, i, RECYCLED) + front_of(w->kept) : load(s, i, PENDING),
              0);
        w->kept = 0;
        w->at = PUT_USES;
        break;
    case PUT_USES:
        if (generation_of(w->word) == ((2 * load(s, i, USES) + 1) & 15) || model.variant == NO_PENDING)
            issue(s, i, RELAXED, USES, load(s, i, USES) + 1, 0);
        w->at = PUT_PROCESS;
        break;
    case PUT_PROCESS:
        issue(s, i, RELAXED, PROCESS, i + 1, 0);
        w->at = model.clear ? PUT_CLOSED_0 : PUT_EVEN;
        break;
    case PUT_CLOSED_0:
        issue(s, i, RELAXED, CLOSED, 0, 0);
        w->at = PUT_IDS_0;
        break;
    case PUT_IDS_0:
        issue(s, i, RELAXED, IDS, 0, 0);
        w->at = PUT_FLAGGED_0;
        break;
    case PUT_FLAGGED_0:
        if (model.variant != STALE_FLAGS)
            issue(s, i, RELAXED, FLAGGED, 0, 0);
        w->at = PUT_EVEN;
        break;
    case PUT_EVEN:
        w->generation = (uint8_t)(2 * load(s, i, USES) & 15);
        w->front = w->slots = w->trace = w->word = 0;
        if (model.variant == TWO_WORDS)
            issue(s, i, RELEASE, SLOTS, 0, 0);
        if (model.variant != BUMP_AND_RESET)
            issue(s, i, RELEASE, WORD, word_of(w->generation, 0, 0), 0);
        w->at = PUT_DATA_0;
        break;
    case PUT_DATA_0:
        issue(s, i, RELAXED, DATA + 2 * w->front, record, 0);
        w->at = PUT_DATA_1;
        break;
    case PUT_DATA_1:
        issue(s, i, RELAXED, DATA + 2 * w->front + 1, record, 0);
        w->at = w->trace == trace_of(record) ? PUBLISH : PUT_SLOT;
        break;
    case PUT_SLOT:
        w->trace = (uint8_t)trace_of(record);
        issue(s, i, RELAXED, DIRECTORY + w->slots, w->front << 2 | w->trace, 0);
        w->slots++;
        w->at = PUBLISH;
        break;
    case PUBLISH:
        s->home[record] = (uint8_t)home_of(w->chunk, w->generation / 2, w->front);
        w->front++;
        w->record++;
        issue(s, i, model.variant == RELAXED_PUBLISH ? RELAXED : RELEASE, WORD,
              word_of(w->generation, model.variant == TWO_WORDS ? 0 : w->slots, w->front), record);
        if (model.variant == TWO_WORDS)
            w->at = PUBLISH_SLOTS;
        else if (model.clear && w->trace == 1)
            w->at = MAY_CLEAR;
        else
            next_record(s, i);
        break;
    case PUBLISH_SLOTS:
        issue(s, i, RELEASE, SLOTS, w->slots, 0);
        next_record(s, i);
        break;
    case MAY_CLEAR: /* expand() has the other way on */
        w->flag_at = 0;
        w->at = PUT_FLAG;
        break;
    case PUT_FLAG:
        while (w->flag_at < w->slots && (load(s, i, DIRECTORY + w->flag_at) & ~0xc) != 1)
            w->flag_at++;
        if (w->flag_at < w->slots) {
            issue(s, i, RELAXED, DIRECTORY + w->flag_at, load(s, i, DIRECTORY + w->flag_at) | FLAG, 0);
            w->at = PUT_FLAGGED;
            break;
        }
        w->flag_at = 0;
        next_record(s, i);
        break;
    case PUT_FLAGGED:
        issue(s, i, RELAXED, FLAGGED, load(s, i, FLAGGED) + 1, 0);
        w->at = PUT_FLAG;
        break;
    case CLOSE_IDS:
        if (model.clear)
            issue(s, i, RELAXED, IDS, w->slots, 0);
        w->at = CLOSE_TICKS;
        break;
    case CLOSE_TICKS:
        if (model.clear)
            issue(s, i, RELAXED, CLOSED, 1, 0);
        w->at = DISOWN;
        break;
    case DISOWN:
        issue(s, i, model.variant == RELAXED_DISOWN ? RELAXED : RELEASE, OWNER, 0, 0);
        w->chunk = NONE;
        w->front = w->slots = w->trace = w->generation = 0;
        next_record(s, i);
        break;
    case AGENT_SWAP:
        if (w->buffered)
            return 0;
        if (m[OWNER] && alive(s, m[OWNER]) && model.variant != FLAG_UNOWNED) {
            next_of_agent(s, i);
            break;
        }
        if (model.variant != FLAG_UNOWNED)
            m[OWNER] = (uint8_t)(i + 1);
        w->word = m[WORD];
        w->flag_at = w->kept = 0;
        w->at = generation_of(w->word) & 1 ? AGENT_DISOWN : AGENT_FLAG;
        break;
    case AGENT_FLAG:
        while (w->flag_at < slots_of(w->word) && (load(s, i, DIRECTORY + w->flag_at) & ~0xc) != 1)
            w->kept = (uint8_t)(w->kept + load(s, i, DIRECTORY + w->flag_at++) / FLAG);
        if (w->flag_at < slots_of(w->word)) {
            issue(s, i, RELAXED, DIRECTORY + w->flag_at, load(s, i, DIRECTORY + w->flag_at) | FLAG, 0);
            w->flag_at++;
            w->kept++;
        } else {
            w->flag_at = 0;
            w->at = AGENT_IDS;
        }
        break;
    case AGENT_IDS:
        issue(s, i, RELAXED, IDS, slots_of(w->word), 0);
        w->at = AGENT_FLAGGED;
        break;
    case AGENT_FLAGGED:
        issue(s, i, RELAXED, FLAGGED, w->kept, 0);
        w->kept = 0;
        w->at = AGENT_CLOSED;
        break;
    case AGENT_CLOSED:
        issue(s, i, RELAXED, CLOSED, 1, 0);
        w->at = AGENT_DISOWN;
        break;
    case AGENT_DISOWN:
        if (model.variant != FLAG_UNOWNED)
            issue(s, i, RELEASE, OWNER, 0, 0);
        w->word = 0;
        next_of_agent(s, i);
        break;
    case STOPPED:
        return 0;
    }
    return 1;
}

/* Steps that nobody else can see or be seen by: they need not be tried in every order with the others'. */
static int is_private(const struct writer *w)
{
    switch ((enum at)w->at) {
    case HAND:
    case LOOK:
    case SWAP_OWNER:
    case INSPECT:
    case RAISE_LATE:
    case AGENT_SWAP:
    case STOPPED:
        return 0;
    default:
        return w->buffered < model.buffer;
    }
}

#endif

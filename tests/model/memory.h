/*
 * What is in memory, and how stores get there. Memory is as weak as C11 allows on machines where all
 * processors see one memory (x86-64, arm64): a store goes into its writer's buffer and from there to memory
 * in any order, but
 *   - stores to one place stay in order,
 *   - a release store waits for all before it (those after it may overtake it),
 *   - a release fence holds all after it until all before it are out,
 *   - an atomic read-modify-write with release waits for the whole buffer.
 * A dead writer's buffer still drains; only then is its lock free.
 */
#ifndef WBPF_MODEL_MEMORY_H
#define WBPF_MODEL_MEMORY_H

#include <stdint.h>
#include <string.h>

#define MAX_CHUNKS   3
#define MAX_CAPACITY 3
#define MAX_WRITERS  4 /* the agent is one of them */
#define MAX_RECORDS  15
#define BUFFER       10 /* of it, model.buffer are used */
#define NONE         0xff

/* Each but the first is wrong on purpose: the search has to find that. */
#define VARIANTS(X)                                                                                          \
    X(GOOD, "good", "as it is")                                                                              \
    X(TWO_WORDS, "two-words", "front and directory are published by two stores")                             \
    X(BUMP_FIRST, "bump-first", "one generation bump, then the bytes, then the reset")                       \
    X(BUMP_AND_RESET, "bump-and-reset", "no odd generation: bumped and reset at once, counted afterwards")   \
    X(STEAL, "steal", "chunks are taken whoever owns them")                                                  \
    X(NO_ODD_FENCE, "no-odd-fence", "no release fence after the odd store")                                  \
    X(LATE_LOST, "late-lost", "lost_until is raised after the odd store")                                    \
    X(RELAXED_PUBLISH, "relaxed-publish", "the word is published without release order")                     \
    X(NO_READ_FENCE, "no-read-fence", "no acquire fence before the second load of the word")                 \
    X(LATE_PROCESS, "late-process", "the writer's process is read after the second load of the word")        \
    X(EARLY_LOST, "early-lost", "lost_until is read before the copies")                                      \
    X(NO_PENDING, "no-pending", "counted by adding, not by a value that was stored before")                  \
    X(RELAXED_DISOWN, "relaxed-disown", "a chunk is given back without release order")                       \
    X(STALE_FLAGS, "stale-flags", "recycling leaves the count of cleared traces as it was")                  \
    X(FLAG_UNOWNED, "flag-unowned", "traces are flagged in chunks that somebody else owns")                  \
    X(SKIP_ODD, "skip-odd", "takers leave alone what a dead taker was recycling")
#define NAME(name, word, doc) name,
enum variant { VARIANTS(NAME) };
#undef NAME

static struct {
    enum variant variant;
    int chunks, capacity, writers, records, polls, deaths, clear, buffer, shuffle;
} model;

/* ---- state ---- */

#define PLACES_OF_CHUNK(X)                                                                                   \
    X(WORD, "the word") /* generation << 4 | slots << 2 | front */                                           \
    X(OWNER, "owner")                                                                                        \
    X(USES, "uses")                                                                                          \
    X(PENDING, "pending")                                                                                    \
    X(RECYCLED, "recycled")                                                                                  \
    X(PROCESS, "process")                                                                                    \
    X(CLOSED, "close_ticks")                                                                                 \
    X(IDS, "ids")                                                                                            \
    X(FLAGGED, "cleared_ids")                                                                                \
    X(SLOTS, "the second word")
#define NAME(name, text) name,
enum place {
    PLACES_OF_CHUNK(NAME) DATA,          /* two halves a record: its number */
    DIRECTORY = DATA + 2 * MAX_CAPACITY, /* FLAG | start << 2 | trace */
    PLACES = DIRECTORY + MAX_CAPACITY
};
#undef NAME
#define FLAG 0x80

enum kind { RELAXED, RELEASE, FENCE };

struct entry {
    uint8_t kind, place, value, record; /* `record`: published by this store */
};

#define WRITER_STEPS(X)                                                                                      \
    X(HAND, "takes the next of the hand")                                                                    \
    X(LOOK, "looks at the owner")                                                                            \
    X(SWAP_OWNER, "makes itself the owner")                                                                  \
    X(INSPECT, "reads the word, raises lost_until")                                                          \
    X(PUT_PENDING, "stores pending")                                                                         \
    X(PUT_ODD, "stores the odd word")                                                                        \
    X(PUT_FENCE, "fence")                                                                                    \
    X(RAISE_LATE, "raises lost_until")                                                                       \
    X(PUT_RECYCLED, "stores recycled")                                                                       \
    X(PUT_USES, "stores uses")                                                                               \
    X(PUT_PROCESS, "stores process")                                                                         \
    X(PUT_CLOSED_0, "resets close_ticks")                                                                    \
    X(PUT_IDS_0, "resets ids")                                                                               \
    X(PUT_FLAGGED_0, "resets cleared_ids")                                                                   \
    X(PUT_EVEN, "stores the even word")                                                                      \
    X(PUT_DATA_0, "stores half a record")                                                                    \
    X(PUT_DATA_1, "stores the other half")                                                                   \
    X(PUT_SLOT, "stores a directory slot")                                                                   \
    X(PUBLISH, "stores the word: publishes")                                                                 \
    X(PUBLISH_SLOTS, "stores the second word")                                                               \
    X(MAY_CLEAR, "clears its trace")                                                                         \
    X(PUT_FLAG, "flags a slot, if one is left")                                                              \
    X(PUT_FLAGGED, "stores cleared_ids")                                                                     \
    X(CLOSE_IDS, "stores ids")                                                                               \
    X(CLOSE_TICKS, "stores close_ticks")                                                                     \
    X(DISOWN, "stores no owner")                                                                             \
    X(AGENT_SWAP, "makes itself the owner, if nobody alive is")                                              \
    X(AGENT_FLAG, "flags a slot, if one is left")                                                            \
    X(AGENT_IDS, "stores ids")                                                                               \
    X(AGENT_FLAGGED, "stores cleared_ids")                                                                   \
    X(AGENT_CLOSED, "stores close_ticks")                                                                    \
    X(AGENT_DISOWN, "stores no owner")                                                                       \
    X(STOPPED, "stops")
#define NAME(name, text) name,
enum at { WRITER_STEPS(NAME) };
#undef NAME

struct writer {
    uint8_t at, record, chunk, front, slots, generation, trace, tries, seen, word, flag_at, kept, buffered;
    struct entry buffer[BUFFER];
};

#define READER_STEPS(X)                                                                                      \
    X(READ_START, "starts a poll")                                                                           \
    X(READ_WORD, "loads the word")                                                                           \
    X(READ_SLOTS, "loads the second word")                                                                   \
    X(READ_HINT, "looks at a directory slot")                                                                \
    X(READ_COPY, "copies")                                                                                   \
    X(READ_AGAIN, "loads the word again")                                                                    \
    X(READ_PROCESS, "loads process")                                                                         \
    X(READ_LOST, "loads lost_until")                                                                         \
    X(READ_DONE, "is done")
#define NAME(name, text) name,
enum read_at { READER_STEPS(NAME) };
#undef NAME
#define COPY_USES    (1u << 14)
#define COPY_PROCESS (1u << 13)
#define COPY_AGAIN   (1u << 12)

struct reader {
    uint8_t at, poll, chunk, tries, word, slots, old_front, hint, again, uses, process;
    uint8_t words[MAX_CHUNKS], data[2 * MAX_CAPACITY], directory[MAX_CAPACITY];
    uint16_t left, found, must, lost;
};

struct state {
    uint8_t memory[MAX_CHUNKS][PLACES];
    uint8_t hand, deaths, bad, home[MAX_RECORDS + 1]; /* home: where a record was put, by its writer */
    uint16_t lost, published;
    struct writer writers[MAX_WRITERS + 1]; /* the last one counts in the end */
    struct reader reader;
};

static int word_of(int generation, int slots, int front)
{
    return (generation & 15) << 4 | slots << 2 | front;
}
static int front_of(int word)
{
    return word & 3;
}
static int slots_of(int word)
{
    return word >> 2 & 3;
}
static int generation_of(int word)
{
    return word >> 4;
}
/* Records are numbered from 1, writer by writer; their traces go A A B B or A B B A. */
static int record_of(int writer, int record)
{
    return writer * model.records + record + 1;
}
static int trace_of(int number)
{
    int writer = (number - 1) / model.records, record = (number - 1) % model.records;
    return 1 + (record + writer) / 2 % 2;
}
static int watched(int trace)
{
    return !model.clear || trace == 2; /* trace 1 is the one that is cleared */
}
static int home_of(int chunk, int uses, int unit)
{
    return chunk << 6 | (uses & 15) << 2 | unit;
}
static int is_agent(int writer)
{
    return model.clear && writer == model.writers - 1;
}

/* ---- stores ---- */

static void issue(struct state *s, int i, int kind, int place, int value, int record)
{
    struct writer *w = &s->writers[i];
    w->buffer[w->buffered++] =
        (struct entry){(uint8_t)kind, (uint8_t)(w->chunk * PLACES + place), (uint8_t)value, (uint8_t)record};
}

/* What the writer itself would load. */
static int load(const struct state *s, int i, int place)
{
    const struct writer *w = &s->writers[i];
    for (int e = w->buffered; e-- > 0;)
        if (w->buffer[e].kind != FENCE && w->buffer[e].place == w->chunk * PLACES + place)
            return w->buffer[e].value;
    return s->memory[w->chunk][place];
}

static int may_drain(const struct writer *w, int e)
{
    if (w->buffer[e].kind == FENCE)
        return 0;
    for (int before = 0; before < e; before++)
        if (w->buffer[e].kind == RELEASE || w->buffer[before].kind == FENCE ||
            w->buffer[before].place == w->buffer[e].place)
            return 0;
    return 1;
}

/* Will the reader come to this chunk again? */
static int is_read_later(const struct state *s, int chunk)
{
    return s->reader.at != READ_DONE && (s->reader.poll + 1 < model.polls || s->reader.chunk <= chunk);
}

/* Stores that only the chunk's next owner reads, once this buffer is empty: it does not matter when they
 * drain. */
static int is_unseen(const struct state *s, const struct entry *e)
{
    int place = e->place % PLACES;
    if (!is_read_later(s, e->place / PLACES))
        return place != OWNER;
    return place == PENDING || place == RECYCLED || place == CLOSED || place == IDS || place == FLAGGED;
}

static void drain(struct state *s, int i, int e)
{
    struct writer *w = &s->writers[i];
    uint8_t *to = (uint8_t *)s->memory + w->buffer[e].place;
    if (w->buffer[e].place % PLACES == WORD && generation_of(*to) != generation_of(w->buffer[e].value))
        for (int number = 1; number <= MAX_RECORDS; number++) /* recycled: nobody may show them */
            if (s->home[number] &&
                s->home[number] >> 2 == home_of(w->buffer[e].place / PLACES, generation_of(*to) / 2, 0) >> 2)
                s->home[number] = 0;
    *to = w->buffer[e].value;
    if (w->buffer[e].record)
        s->published |= (uint16_t)(1u << w->buffer[e].record);
    do {
        memmove(&w->buffer[e], &w->buffer[e + 1], (size_t)(w->buffered - e - 1) * sizeof *w->buffer);
        w->buffer[--w->buffered] = (struct entry){0, 0, 0, 0};
        e = 0;
    } while (w->buffered && w->buffer[0].kind == FENCE);
}

static int alive(const struct state *s, int owner)
{
    const struct writer *w = &s->writers[owner - 1];
    return w->at != STOPPED || w->buffered;
}

#endif

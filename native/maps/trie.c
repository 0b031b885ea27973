/*
 * The index of LPM tries: a binary trie with compressed paths, as the kernel's (kernel/bpf/lpm_trie.c).
 *
 * It is made of the hash's elements and can be made anew of them, which `repair` does after a writer was
 * killed. Readers take no lock: the whole trie has a sequence, odd while it is changed, and who finds it
 * changed begins anew. A reader does not compare on its way: it goes where its bits say, and what it has in
 * common with the place where it ends tells which of the prefixes on the way are its own.
 */
#include "maps/internal.h"
#include <string.h>

enum { RETRIES_MOST = 1000, BITS_MOST = 256 * 8, FIRST_BITS = 8 };

struct trie_node {
    uint32_t child[2]; /* node + 1 */
    uint32_t bits;     /* of its prefix, which is that of any element below it, as far as it goes */
    uint32_t element;  /* + 1; 0: it only has children, two of them */
};

/* For each first byte of a key: where its way has come after 8 bits, and the prefix it has until there. */
struct entry {
    uint32_t node, element;
};

size_t trie_bytes(const wbpf_user_map *map)
{
    return 2 * (size_t)map->elements * sizeof(struct trie_node) + (sizeof(struct entry) << FIRST_BITS);
}

static struct entry *entry_at(const wbpf_user_map *map, uint8_t first)
{
    return (struct entry *)(map->nodes + 2 * (size_t)map->elements) + first;
}

static struct trie_node *node_at(const wbpf_user_map *map, uint32_t number)
{
    return &map->nodes[number - 1];
}

static uint32_t limit(const wbpf_user_map *map)
{
    return 2 * map->elements;
}

/* Keys: the prefix's length, then its bytes. */
static uint32_t bits_of(const void *key)
{
    uint32_t bits;
    memcpy(&bits, key, sizeof bits);
    return bits;
}

static const uint8_t *bytes_of(const void *key)
{
    return (const uint8_t *)key + 4;
}

static uint32_t bit(const uint8_t *bytes, uint32_t at)
{
    return load_word(&bytes[at / 8]) >> (7 - at % 8) & 1;
}

/* How many bits are the same, up to `most`; `there` may be changed meanwhile. */
static uint32_t common(const uint8_t *mine, const uint8_t *there, uint32_t most)
{
    uint32_t bits = 0;
    for (; bits + 32 <= most; bits += 32) {
        uint32_t a, b;
        memcpy(&a, mine + bits / 8, 4);
        b = load_word((const uint32_t *)(const void *)(there + bits / 8));
        if (a != b)
            return bits + (uint32_t)__builtin_clz(__builtin_bswap32(a ^ b));
    }
    while (bits < most) {
        uint8_t differ = mine[bits / 8] ^ load_word(&there[bits / 8]);
        if (differ) {
            bits += (uint32_t)__builtin_clz(differ) - 24;
            return bits < most ? bits : most;
        }
        bits += 8;
    }
    return most;
}

/* ---- writing ---- */

static void begin(wbpf_user_map *map)
{
    store_word(&map->header->trie_sequence, map->header->trie_sequence | 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end(wbpf_user_map *map)
{
    publish(&map->header->trie_sequence, map->header->trie_sequence + 1);
}

void trie_clear(wbpf_user_map *map)
{
    begin(map);
    store_word(&map->header->trie_root, 0);
    map->header->trie_free = map->header->trie_used = 0;
    for (int first = 0; first < 1 << FIRST_BITS; first++) {
        store_word(&entry_at(map, (uint8_t)first)->node, 0);
        store_word(&entry_at(map, (uint8_t)first)->element, 0);
    }
    end(map);
}

static uint32_t new_node(wbpf_user_map *map, uint32_t bits, uint32_t element)
{
    struct map_header *header = map->header;
    uint32_t number = header->trie_free;
    if (number)
        header->trie_free = node_at(map, number)->child[0];
    else
        number = ++header->trie_used;
    struct trie_node *node = node_at(map, number);
    store_word(&node->child[0], 0);
    store_word(&node->child[1], 0);
    store_word(&node->bits, bits);
    store_word(&node->element, element);
    return number;
}

static void free_node(wbpf_user_map *map, uint32_t number)
{
    store_word(&node_at(map, number)->child[0], map->header->trie_free);
    map->header->trie_free = number;
}

static const uint8_t *prefix_of(const wbpf_user_map *map, const struct trie_node *node)
{
    while (!node->element)
        node = node_at(map, node->child[0]);
    return bytes_of(element_at(map, node->element)->key);
}

static void enter(wbpf_user_map *map, uint8_t first)
{
    uint32_t number = map->header->trie_root, element = 0;
    while (number) {
        const struct trie_node *node = node_at(map, number);
        uint32_t bits = node->bits < FIRST_BITS ? node->bits : FIRST_BITS;
        if (common(&first, prefix_of(map, node), bits) < bits)
            number = 0;
        if (!number || node->bits >= FIRST_BITS)
            break;
        element = node->element ? node->element : element;
        number = node->child[bit(&first, bits)];
    }
    store_word(&entry_at(map, first)->node, number);
    store_word(&entry_at(map, first)->element, element);
}

/* All keys that begin as a prefix does. */
static void enter_all(wbpf_user_map *map, const uint8_t *bytes, uint32_t bits)
{
    uint32_t count = bits < FIRST_BITS ? 1u << (FIRST_BITS - bits) : 1;
    for (uint32_t i = 0; i < count; i++)
        enter(map, (uint8_t)(bytes[0] + i));
}

void trie_insert(wbpf_user_map *map, uint32_t element)
{
    const void *key = element_at(map, element)->key;
    const uint8_t *bytes = bytes_of(key);
    uint32_t bits = bits_of(key), same = 0, *link = &map->header->trie_root;
    struct trie_node *node = NULL;
    begin(map);
    while (*link) {
        node = node_at(map, *link);
        same = common(bytes, prefix_of(map, node), bits < node->bits ? bits : node->bits);
        if (same != node->bits || same == bits)
            break;
        link = &node->child[bit(bytes, same)];
    }
    if (!*link) {
        store_word(link, new_node(map, bits, element));
    } else if (same == bits && node->bits == bits) {
        store_word(&node->element, element);
    } else {
        uint32_t below = *link, leaf = new_node(map, bits, element), above = leaf;
        const uint8_t *other = prefix_of(map, node);
        if (same != bits) {
            above = new_node(map, same, 0);
            store_word(&node_at(map, above)->child[bit(bytes, same)], leaf);
        }
        store_word(&node_at(map, above)->child[bit(other, same)], below);
        store_word(link, above);
    }
    enter_all(map, bytes, bits);
    end(map);
}

/* The element that is there may be a newer one with the same prefix: then it stays. */
void trie_remove(wbpf_user_map *map, uint32_t element)
{
    const void *key = element_at(map, element)->key;
    const uint8_t *bytes = bytes_of(key);
    uint32_t bits = bits_of(key), *link = &map->header->trie_root, *above = NULL;
    while (*link && node_at(map, *link)->bits < bits) {
        above = link;
        link = &node_at(map, *link)->child[bit(bytes, node_at(map, *link)->bits)];
    }
    uint32_t number = *link;
    if (!number || node_at(map, number)->element != element)
        return;
    struct trie_node *node = node_at(map, number);
    begin(map);
    store_word(&node->element, 0);
    if (!node->child[0] || !node->child[1]) {
        uint32_t child = node->child[0] | node->child[1];
        store_word(link, child);
        free_node(map, number);
        uint32_t parent = above ? *above : 0;
        if (!child && parent && !node_at(map, parent)->element) {
            store_word(above, node_at(map, parent)->child[0] | node_at(map, parent)->child[1]);
            free_node(map, parent);
        }
    }
    enter_all(map, bytes, bits);
    end(map);
}

/* ---- reading ---- */

struct step {
    uint32_t bits, element;
};

/* False: it was changed meanwhile. */
static bool walk(const wbpf_user_map *map, const uint8_t *bytes, uint32_t bits, uint32_t *found)
{
    struct step steps[BITS_MOST + 1];
    uint32_t count = 0, last = 0, at_least = 0, length = 0;
    uint32_t number = load_word(&map->header->trie_root);
    *found = 0;
    if (bits >= FIRST_BITS) {
        const struct entry *entry = entry_at(map, bytes[0]);
        number = load_word(&entry->node);
        *found = load_word(&entry->element);
    }
    while (number) {
        if (number > limit(map))
            return false;
        const struct trie_node *node = node_at(map, number);
        last = number;
        length = load_word(&node->bits);
        if (length >= bits || length < at_least)
            break;
        uint32_t element = load_word(&node->element);
        steps[count] = (struct step){length, element};
        count += element != 0;
        at_least = length + 1;
        number = load_word(&node->child[bit(bytes, length)]);
    }
    if (!last)
        return true;
    if (number && length < at_least)
        return false;
    uint32_t element = load_word(&node_at(map, last)->element);
    if (number && length == bits && element)
        steps[count++] = (struct step){length, element};
    if (!count)
        return true;
    for (uint32_t tries = 0; !element && tries <= BITS_MOST; tries++) {
        last = load_word(&node_at(map, last)->child[0]);
        if (!last || last > limit(map))
            return false;
        element = load_word(&node_at(map, last)->element);
    }
    if (!element || element > map->elements)
        return false;
    uint32_t same = common(bytes, bytes_of(element_at(map, element)->key), bits);
    while (count && steps[count - 1].bits > same)
        count--;
    if (count)
        *found = steps[count - 1].element;
    return true;
}

struct element *trie_search(wbpf_user_map *map, const void *key, uint32_t *sequence)
{
    uint32_t bits = bits_of(key), number = 0;
    struct element *found = NULL;
    bool locked = false;
    if (bits > (map->spec.key_bytes - 4) * 8)
        return NULL;
    for (uint32_t tries = 0;; tries++) {
        if (tries == RETRIES_MOST) /* the writers go first, and one that was killed is put right */
            locked = map_lock(map) == 0;
        uint32_t before = load_published(&map->header->trie_sequence);
        if (before & 1 || !walk(map, bytes_of(key), bits, &number) || number > map->elements)
            continue;
        found = number ? element_at(map, number) : NULL;
        if (found)
            *sequence = load_published(&found->sequence);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load_word(&map->header->trie_sequence) == before)
            break;
    }
    if (locked)
        map_unlock(map);
    return found;
}

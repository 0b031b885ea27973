/* Mappings of files that others may cut short while they are read. */
#ifndef WBPF_CUT_H
#define WBPF_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct watched_mapping;

/*
 * From here on an access behind the end of the file finds zeros and marks the mapping, instead of ending the
 * process by SIGBUS. For readers of files that are not theirs: installs a handler of SIGBUS, which passes on
 * to the one that was there whatever is not in such a mapping. NULL: no memory.
 */
struct watched_mapping *mapping_watch(const uint8_t *base, size_t bytes);
/* Before the mapping goes. */
void mapping_unwatch(struct watched_mapping *watched);
/* Has an access found nothing? What was read since the last time that this was false may be zeros. */
bool mapping_was_cut(const struct watched_mapping *watched);

#ifdef __cplusplus
}
#endif

#endif

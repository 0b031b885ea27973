/* Opening the recorder: what its parts share. */
#ifndef WBPF_RECORDER_OPENING_H
#define WBPF_RECORDER_OPENING_H

#include "internal.h"

#define PATH_BYTES 4096

/* Keeps the text for wbpf_error(); returns the error. */
__attribute__((format(printf, 2, 3))) int recorder_fail(int error, const char *format, ...);

/* Options with those of the environment and the defaults; `directory` has PATH_BYTES / 2, the names 256. */
int recorder_options(const wbpf_options *options, wbpf_options *out, char *directory, char *host,
                     char *service);

int host_make_directory(const char *path);
uint32_t *host_map_doorbell(const char *directory);
int host_create_segment(const char *path, const struct layout_spec *spec);

/* Memory that a forked child finds zeroed; NULL: there is none. */
void *wiped_memory_map(size_t bytes);
/* For eBPF programs, which find a thread's slot from its thread pointer. */
void process_tell_slots(const struct mapping *map, const struct process *self);
/* Threads that end give their writers back from here on. */
void writer_watch_exits(void);

#endif

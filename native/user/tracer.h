/* The tracer that started this process, and the folder where both have their sockets. Errors are negative
 * errnos. */
#ifndef WBPF_USER_TRACER_H
#define WBPF_USER_TRACER_H

#include <stdbool.h>
#include <stddef.h>

/* The host's folder, opened by O_PATH; its path in *path. */
int wbpf_probes_folder(char *path, size_t bytes);
/* Where $WBPF_TRACER says so: wait until what it traces is attached here too, but not for ever, for the
 * tracer may have been stopped. */
void wbpf_tracer_wait(bool forked);

#endif

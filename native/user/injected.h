/* Code that a thread of another process is made to run: it loads a library and goes on as if nothing had
 * been. */
#ifndef WBPF_USER_INJECTED_H
#define WBPF_USER_INJECTED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* To be followed by: the address where the thread was, that of dlopen(), and the library's path with its end.
 * NULL: there is none for this machine. */
const uint8_t *wbpf_injected_code(uint32_t *bytes);

#ifdef __cplusplus
}
#endif
#endif

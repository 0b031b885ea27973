/* Finding libbpf. */
#include "libbpf.h"
#include "kernel.h"
#include <errno.h>
#include <stdio.h>

#ifdef WBPF_HAVE_LIBBPF

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static struct libbpf functions;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char missing[WBPF_WHY_BYTES];
static int found;

static void find(void)
{
    void *library = dlopen("libbpf.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(missing, sizeof missing, "%s", dlerror());
        found = -ENOENT;
        return;
    }
#define LIBBPF_FIND(name)                                                                                    \
    *(void **)&functions.name = dlsym(library, #name);                                                       \
    if (!functions.name) {                                                                                   \
        snprintf(missing, sizeof missing, "libbpf.so.1 has no function %s: it is too old", #name);           \
        found = -ENOENT;                                                                                     \
    }
    LIBBPF_FUNCTIONS(LIBBPF_FIND);
}

const struct libbpf *libbpf(void)
{
    pthread_once(&once, find);
    return found == 0 ? &functions : NULL;
}

int wbpf_libbpf_find(char *why)
{
    if (libbpf())
        return 0;
    memcpy(why, missing, sizeof missing);
    return found;
}

const char *wbpf_libbpf_version(void)
{
    return libbpf() ? functions.libbpf_version_string() : NULL;
}

#else

int wbpf_libbpf_find(char *why)
{
    snprintf(why, WBPF_WHY_BYTES, "this build of wBPF was made without libbpf's headers");
    return -ENOSYS;
}

const char *wbpf_libbpf_version(void)
{
    return NULL;
}

#endif

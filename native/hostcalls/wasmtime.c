/* Finding Wasmtime in the package that carries it. */
#include "wasmtime.h"
#include "hostcalls.h"
#include "windows.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct wasmtime wasmtime;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool is_open;

static int open_library(const char *path, char *why)
{
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        snprintf(why, WBPF_WASM_WHY_BYTES, "%s", dlerror());
        return -ENOENT;
    }
#define WASMTIME_FIND(result, name, parameters)                                                              \
    *(void **)&wasmtime.name = dlsym(library, #name);                                                        \
    if (!wasmtime.name) {                                                                                    \
        snprintf(why, WBPF_WASM_WHY_BYTES, "%s has no function %s", path, #name);                            \
        return -ENOSYS;                                                                                      \
    }
    WASMTIME_FUNCTIONS(WASMTIME_FIND);
    return 0;
}

int wbpf_wasmtime_open(const char *path, char *why)
{
    int error = 0;
    pthread_mutex_lock(&mutex);
    if (!is_open) {
        error = open_library(path, why);
        /* Before Wasmtime's own, which hands on what it does not know. */
        if (!error)
            wbpf_windows_guard();
        is_open = !error;
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

int wbpf_wasm_from_text(const char *text, size_t bytes,
                        void (*take)(void *to, const char *wasm, size_t bytes), void *to, char *why)
{
    wasm_bytes_t wasm;
    wasmtime_error_t *error = wasmtime.wasmtime_wat2wasm(text, bytes, &wasm);
    if (error)
        return wbpf_wasm_explain(error, why);
    take(to, wasm.data, wasm.size);
    wasmtime.wasm_byte_vec_delete(&wasm);
    return 0;
}

int wbpf_wasm_explain(wasmtime_error_t *error, char *why)
{
    wasm_bytes_t text;
    wasmtime.wasmtime_error_message(error, &text);
    snprintf(why, WBPF_WASM_WHY_BYTES, "%.*s", (int)text.size, text.data);
    wasmtime.wasm_byte_vec_delete(&text);
    wasmtime.wasmtime_error_delete(error);
    return -EINVAL;
}

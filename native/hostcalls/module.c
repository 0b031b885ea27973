/* Compiled modules. */
#include "guest.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static wbpf_wasm_module *make(bool with_fuel)
{
    wbpf_wasm_module *module = calloc(1, sizeof *module);
    wasm_config_t *config = wasmtime.wasm_config_new();
    wasmtime.wasmtime_config_epoch_interruption_set(config, true);
    wasmtime.wasmtime_config_consume_fuel_set(config, with_fuel);
    wasmtime.wasmtime_config_wasm_memory64_set(config, false); /* they move when they grow */
    module->engine = wasmtime.wasm_engine_new_with_config(config);
    module->with_fuel = with_fuel;
    module->users = 1;
    return module;
}

static int finish(wbpf_wasm_module *module, wasmtime_error_t *error, wbpf_wasm_module **out, char *why)
{
    if (error) {
        wasmtime.wasm_engine_delete(module->engine);
        free(module);
        return wbpf_wasm_explain(error, why);
    }
    wasmtime.wasmtime_module_imports(module->code, &module->imports);
    *out = module;
    return 0;
}

int wbpf_wasm_module_compile(const void *wasm, size_t bytes, bool with_fuel, wbpf_wasm_module **out,
                             char *why)
{
    wbpf_wasm_module *module = make(with_fuel);
    return finish(module, wasmtime.wasmtime_module_new(module->engine, wasm, bytes, &module->code), out, why);
}

int wbpf_wasm_module_load(const char *path, bool with_fuel, wbpf_wasm_module **out, char *why)
{
    wbpf_wasm_module *module = make(with_fuel);
    return finish(module, wasmtime.wasmtime_module_deserialize_file(module->engine, path, &module->code), out,
                  why);
}

int wbpf_wasm_module_save(wbpf_wasm_module *module, int fd, char *why)
{
    wasm_bytes_t code;
    wasmtime_error_t *failed = wasmtime.wasmtime_module_serialize(module->code, &code);
    if (failed)
        return wbpf_wasm_explain(failed, why);
    int error = 0;
    for (size_t done = 0; done < code.size && !error;) {
        ssize_t now = write(fd, code.data + done, code.size - done);
        if (now > 0)
            done += (size_t)now;
        else if (now == 0 || errno != EINTR)
            error = now ? -errno : -EIO;
    }
    if (error)
        snprintf(why, WBPF_WASM_WHY_BYTES, "%s", strerror(-error));
    wasmtime.wasm_byte_vec_delete(&code);
    return error;
}

int wbpf_wasm_module_import(const wbpf_wasm_module *module, uint32_t index, wbpf_wasm_import *out)
{
    if (index >= module->imports.size)
        return -ENOENT;
    const wasm_bytes_t *from = wasmtime.wasm_importtype_module(module->imports.data[index]);
    const wasm_bytes_t *name = wasmtime.wasm_importtype_name(module->imports.data[index]);
    snprintf(out->module, sizeof out->module, "%.*s", (int)from->size, from->data);
    snprintf(out->name, sizeof out->name, "%.*s", name ? (int)name->size : 0, name ? name->data : "");
    return 0;
}

void wbpf_wasm_module_release(wbpf_wasm_module *module)
{
    if (atomic_fetch_sub(&module->users, 1) > 1)
        return;
    wasmtime.wasm_importtype_vec_delete(&module->imports);
    wasmtime.wasmtime_module_delete(module->code);
    wasmtime.wasm_engine_delete(module->engine);
    free(module);
}

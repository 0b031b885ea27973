/* Wasmtime's C API, as far as it is used here: the shared library of the package `wasmtime`, which comes
 * without headers. The layouts hold for the version that pyproject.toml pins. */
#ifndef WBPF_HOSTCALLS_WASMTIME_H
#define WBPF_HOSTCALLS_WASMTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_importtype_t wasm_importtype_t;
typedef struct wasm_externtype_t wasm_externtype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasi_config_t wasi_config_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_error wasmtime_error_t;

typedef struct {
    size_t size;
    char *data;
} wasm_bytes_t; /* wasm_byte_vec_t, wasm_name_t, wasm_message_t */

typedef struct {
    size_t size;
    wasm_valtype_t **data;
} wasm_valtype_vec_t;

typedef struct {
    size_t size;
    wasm_importtype_t **data;
} wasm_importtype_vec_t;

typedef struct {
    size_t size;
    wasm_frame_t **data;
} wasm_frame_vec_t;

typedef struct {
    uint64_t store_id;
    void *private;
} wasmtime_func_t;

typedef struct {
    uint64_t store_id;
    size_t private;
} wasmtime_instance_t;

typedef struct {
    struct {
        uint64_t store_id;
        uint32_t private1;
    } head;
    uint32_t private2;
} wasmtime_memory_t;

typedef wasmtime_memory_t wasmtime_table_t;

typedef struct {
    uint8_t kind;
    union {
        wasmtime_func_t func;
        wasmtime_memory_t memory;
        wasmtime_table_t table;
    } of;
} wasmtime_extern_t;

enum { WASMTIME_EXTERN_FUNC, WASMTIME_EXTERN_GLOBAL, WASMTIME_EXTERN_TABLE, WASMTIME_EXTERN_MEMORY };
enum { WASM_I32, WASM_I64 };
enum { WASMTIME_FUNCREF = 5 };

typedef struct {
    uint8_t kind;
    _Alignas(8) union {
        wasmtime_func_t funcref;
        uint8_t bytes[24]; /* the largest: a garbage-collected reference */
    } of;
} wasmtime_val_t;

typedef union {
    _Alignas(8) int32_t i32;
    int64_t i64;
    uint8_t bytes[16];
} wasmtime_val_raw_t;

_Static_assert(sizeof(wasmtime_func_t) == 16, "layout of Wasmtime");
_Static_assert(sizeof(wasmtime_instance_t) == 16, "layout of Wasmtime");
_Static_assert(sizeof(wasmtime_memory_t) == 24, "layout of Wasmtime");
_Static_assert(offsetof(wasmtime_memory_t, private2) == 16, "layout of Wasmtime");
_Static_assert(sizeof(wasmtime_extern_t) == 32, "layout of Wasmtime");
_Static_assert(offsetof(wasmtime_extern_t, of) == 8, "layout of Wasmtime");
_Static_assert(sizeof(wasmtime_val_t) == 32, "layout of Wasmtime");
_Static_assert(offsetof(wasmtime_val_t, of) == 8, "layout of Wasmtime");
_Static_assert(sizeof(wasmtime_val_raw_t) == 16, "layout of Wasmtime");

typedef wasm_trap_t *(*wasmtime_unchecked)(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values,
                                           size_t count);
typedef wasmtime_error_t *(*wasmtime_epoch_callback)(wasmtime_context_t *context, void *data,
                                                     uint64_t *more_ticks, uint8_t *kind);
typedef ssize_t (*wasi_write)(void *data, const unsigned char *bytes, size_t size);
typedef void (*wasmtime_finalizer)(void *data);

/* each(result, name, parameters) */
#define WASMTIME_FUNCTIONS(each)                                                                             \
    each(wasm_config_t *, wasm_config_new, (void));                                                          \
    each(void, wasmtime_config_epoch_interruption_set, (wasm_config_t *, bool));                             \
    each(void, wasmtime_config_consume_fuel_set, (wasm_config_t *, bool));                                   \
    each(void, wasmtime_config_wasm_memory64_set, (wasm_config_t *, bool));                                  \
    each(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *));                                   \
    each(void, wasm_engine_delete, (wasm_engine_t *));                                                       \
    each(void, wasmtime_engine_increment_epoch, (wasm_engine_t *));                                          \
    each(wasmtime_error_t *, wasmtime_module_new,                                                            \
         (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **));                                  \
    each(wasmtime_error_t *, wasmtime_module_deserialize_file,                                               \
         (wasm_engine_t *, const char *, wasmtime_module_t **));                                             \
    each(wasmtime_error_t *, wasmtime_module_serialize, (wasmtime_module_t *, wasm_bytes_t *));              \
    each(void, wasmtime_module_delete, (wasmtime_module_t *));                                               \
    each(void, wasmtime_module_imports, (const wasmtime_module_t *, wasm_importtype_vec_t *));               \
    each(void, wasm_importtype_vec_delete, (wasm_importtype_vec_t *));                                       \
    each(const wasm_bytes_t *, wasm_importtype_module, (const wasm_importtype_t *));                         \
    each(const wasm_bytes_t *, wasm_importtype_name, (const wasm_importtype_t *));                           \
    each(void, wasm_byte_vec_delete, (wasm_bytes_t *));                                                      \
    each(wasm_valtype_t *, wasm_valtype_new, (uint8_t));                                                     \
    each(uint8_t, wasm_valtype_kind, (const wasm_valtype_t *));                                              \
    each(void, wasm_valtype_vec_new_uninitialized, (wasm_valtype_vec_t *, size_t));                          \
    each(wasm_functype_t *, wasm_functype_new, (wasm_valtype_vec_t *, wasm_valtype_vec_t *));                \
    each(const wasm_valtype_vec_t *, wasm_functype_params, (const wasm_functype_t *));                       \
    each(const wasm_valtype_vec_t *, wasm_functype_results, (const wasm_functype_t *));                      \
    each(void, wasm_functype_delete, (wasm_functype_t *));                                                   \
    each(wasmtime_store_t *, wasmtime_store_new, (wasm_engine_t *, void *, wasmtime_finalizer));             \
    each(void, wasmtime_store_delete, (wasmtime_store_t *));                                                 \
    each(wasmtime_context_t *, wasmtime_store_context, (wasmtime_store_t *));                                \
    each(void, wasmtime_store_limiter, (wasmtime_store_t *, int64_t, int64_t, int64_t, int64_t, int64_t));   \
    each(void, wasmtime_store_epoch_deadline_callback,                                                       \
         (wasmtime_store_t *, wasmtime_epoch_callback, void *, wasmtime_finalizer));                         \
    each(void, wasmtime_context_set_epoch_deadline, (wasmtime_context_t *, uint64_t));                       \
    each(wasmtime_error_t *, wasmtime_context_set_fuel, (wasmtime_context_t *, uint64_t));                   \
    each(wasmtime_error_t *, wasmtime_context_set_wasi, (wasmtime_context_t *, wasi_config_t *));            \
    each(wasi_config_t *, wasi_config_new, (void));                                                          \
    each(bool, wasi_config_set_argv, (wasi_config_t *, size_t, const char *const *));                        \
    each(bool, wasi_config_set_env, (wasi_config_t *, size_t, const char *const *, const char *const *));    \
    each(bool, wasi_config_preopen_dir, (wasi_config_t *, const char *, const char *, bool));                \
    each(void, wasi_config_inherit_stdin, (wasi_config_t *));                                                \
    each(void, wasi_config_set_stdout_custom, (wasi_config_t *, wasi_write, void *, wasmtime_finalizer));    \
    each(void, wasi_config_set_stderr_custom, (wasi_config_t *, wasi_write, void *, wasmtime_finalizer));    \
    each(wasmtime_linker_t *, wasmtime_linker_new, (wasm_engine_t *));                                       \
    each(void, wasmtime_linker_delete, (wasmtime_linker_t *));                                               \
    each(void, wasmtime_linker_allow_shadowing, (wasmtime_linker_t *, bool));                                \
    each(wasmtime_error_t *, wasmtime_linker_define_wasi, (wasmtime_linker_t *));                            \
    each(wasmtime_error_t *, wasmtime_linker_define_func_unchecked,                                          \
         (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *,          \
          wasmtime_unchecked, void *, wasmtime_finalizer));                                                  \
    each(wasmtime_error_t *, wasmtime_linker_instantiate,                                                    \
         (const wasmtime_linker_t *, wasmtime_context_t *, const wasmtime_module_t *, wasmtime_instance_t *, \
          wasm_trap_t **));                                                                                  \
    each(bool, wasmtime_instance_export_get,                                                                 \
         (wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *));    \
    each(bool, wasmtime_instance_export_nth,                                                                 \
         (wasmtime_context_t *, const wasmtime_instance_t *, size_t, char **, size_t *,                      \
          wasmtime_extern_t *));                                                                             \
    each(wasmtime_error_t *, wasmtime_func_call_unchecked,                                                   \
         (wasmtime_context_t *, const wasmtime_func_t *, wasmtime_val_raw_t *, size_t, wasm_trap_t **));     \
    each(wasm_functype_t *, wasmtime_func_type, (const wasmtime_context_t *, const wasmtime_func_t *));      \
    each(bool, wasmtime_table_get,                                                                           \
         (wasmtime_context_t *, const wasmtime_table_t *, uint64_t, wasmtime_val_t *));                      \
    each(uint8_t *, wasmtime_memory_data, (const wasmtime_context_t *, const wasmtime_memory_t *));          \
    each(size_t, wasmtime_memory_data_size, (const wasmtime_context_t *, const wasmtime_memory_t *));        \
    each(wasmtime_error_t *, wasmtime_memory_grow,                                                           \
         (wasmtime_context_t *, const wasmtime_memory_t *, uint64_t, uint64_t *));                           \
    each(wasmtime_context_t *, wasmtime_caller_context, (wasmtime_caller_t *));                              \
    each(wasm_trap_t *, wasmtime_trap_new, (const char *, size_t));                                          \
    each(bool, wasmtime_trap_code, (const wasm_trap_t *, uint8_t *));                                        \
    each(void, wasm_trap_message, (const wasm_trap_t *, wasm_bytes_t *));                                    \
    each(void, wasm_trap_trace, (const wasm_trap_t *, wasm_frame_vec_t *));                                  \
    each(void, wasm_trap_delete, (wasm_trap_t *));                                                           \
    each(const wasm_bytes_t *, wasmtime_frame_func_name, (const wasm_frame_t *));                            \
    each(uint32_t, wasm_frame_func_index, (const wasm_frame_t *));                                           \
    each(void, wasm_frame_vec_delete, (wasm_frame_vec_t *));                                                 \
    each(wasmtime_error_t *, wasmtime_error_new, (const char *));                                            \
    each(void, wasmtime_error_message, (const wasmtime_error_t *, wasm_bytes_t *));                          \
    each(void, wasmtime_error_wasm_trace, (const wasmtime_error_t *, wasm_frame_vec_t *));                   \
    each(void, wasmtime_error_delete, (wasmtime_error_t *));                                                 \
    each(wasmtime_error_t *, wasmtime_wat2wasm, (const char *, size_t, wasm_bytes_t *))

struct wasmtime {
#define WASMTIME_MEMBER(result, name, parameters) result(*name) parameters
    WASMTIME_FUNCTIONS(WASMTIME_MEMBER);
#undef WASMTIME_MEMBER
};

/* After wbpf_wasmtime_open() alone. */
extern struct wasmtime wasmtime;

#endif

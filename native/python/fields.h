/* Keyword arguments as the payload of a record. */
#ifndef WBPF_PYTHON_FIELDS_H
#define WBPF_PYTHON_FIELDS_H

#include "context.h"
#include <memory>
#include <string>

/* The keyword arguments of a function that are not fields: `event` has "level". */
struct Options {
    const char *function;
    const char *names[2];
};

enum FieldType : uint8_t { FIELD_NONE, FIELD_STR, FIELD_I64, FIELD_U64, FIELD_F64, FIELD_BOOL, FIELD_BYTES };

struct Field {
    FieldType type;
    uint32_t bytes; /* of str and bytes */
    union {
        int64_t i64;
        uint64_t u64;
        double f64;
        bool flag;
        const char *text;
    };

    uint32_t text_bytes() const { return type == FIELD_STR || type == FIELD_BYTES ? bytes : 0; }
    uint32_t fixed_bytes() const
    {
        switch (type) {
        case FIELD_NONE:
            return 0;
        case FIELD_BOOL:
            return 1;
        case FIELD_STR:
        case FIELD_BYTES:
            return 2;
        default:
            return 8;
        }
    }
};

/* Forget which schemas were registered: another segment is open now. */
void forget_schemas();

/*
 * The fields of one call. Call open(), look at the options, then scan(), then write(). Calls of a known site
 * (the same name, the same tuple of keywords, values of the same types) find their schema by addresses alone.
 */
class Payload
{
  public:
    Payload() = default;
    Payload(const Payload &) = delete;
    Payload &operator=(const Payload &) = delete;
    ~Payload() { Py_XDECREF(owned_); }

    /* What is in `values` is named by `kwnames` (NULL: nothing). False, with an exception, if `name` is no
     * str. */
    bool open(Options &options, PyObject *name, PyObject *const *values, PyObject *kwnames);
    /* An option's value, borrowed; NULL if it was not given. */
    PyObject *option(unsigned index) const { return options_[index]; }
    /* Read the values. May run Python code (`__str__`). */
    void scan();
    /* 0: the segment has no room for another schema. */
    wbpf_schema schema() const { return schema_; }
    size_t bytes() const { return bytes_; }
    void write(char *out) const;
    /* scan() and write an event of the trace that is current, which is `context` (NULL: none). */
    void record(unsigned level, const TraceContext *context);
    /* `name key=value ...`, for when there is no schema. */
    std::string text() const;

  private:
    static constexpr unsigned inline_fields = 16;

    void cut(size_t limit);
    void resolve();
    void scan_value(PyObject *value, Field &field);
    void scan_other(PyObject *value, Field &field);
    void scan_text(PyObject *value, Field &field);
    bool scan_integer(PyObject *value, Field &field);
    void hold(PyObject *value);
    void find_schema();

    Options *set_ = nullptr;
    PyObject *name_ = nullptr, *kwnames_ = nullptr;
    PyObject *const *values_ = nullptr;
    unsigned count_ = 0;
    PyObject *options_[2] = {nullptr, nullptr};
    bool known_ = false;
    wbpf_schema schema_ = 0;
    size_t bytes_ = 0;
    PyObject *owned_ = nullptr;    /* list of what was made for this call */
    uint8_t roles_[inline_fields]; /* an option's index + 1, or 0 for a field */
    uint8_t types_[inline_fields];
    Field fields_inline_[inline_fields]; /* options have FIELD_NONE */
    std::unique_ptr<Field[]> fields_more_;
    std::unique_ptr<uint8_t[]> roles_more_;
    Field *fields_ = fields_inline_;
    uint8_t *all_roles_ = roles_;
};

/* A severity: an int, or a name as "warn". -1 with an exception. */
int level_from(PyObject *value);
/* The schema that is a name alone. 0 if `name` is no str (with an exception) or the segment has no room. */
wbpf_schema name_schema(PyObject *name);

#endif

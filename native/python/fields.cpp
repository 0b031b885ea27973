/* From Python values to payloads, and the cache of call sites that makes it quick. */
#include "fields.h"
#include "bindings.h"
#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace
{

constexpr unsigned site_sets = 512, site_ways = 2, site_fields = 16;
constexpr uint32_t max_text_bytes = 65535; /* the length of a str or bytes field is a u16 */
constexpr uint32_t max_word_bytes = 200;   /* of a name or keyword; a descriptor has at most 511 */
constexpr size_t max_known_schemas = 1 << 16;

/* What one call site passes each time. Holds references, so that an address means the same object for good.
 */
struct Site {
    PyObject *name, *kwnames;
    const Options *set;
    wbpf_schema schema;
    uint8_t roles[site_fields], types[site_fields];
};
Site sites[site_sets][site_ways];

std::unordered_map<std::string, wbpf_schema> &known_schemas()
{
    static auto *schemas = new std::unordered_map<std::string, wbpf_schema>; /* outlives the interpreter */
    return *schemas;
}

inline Site *sites_of(PyObject *name, PyObject *kwnames)
{
    uint64_t hash = (reinterpret_cast<uintptr_t>(name) >> 4) * 0x9E3779B97F4A7C15u ^
                    (reinterpret_cast<uintptr_t>(kwnames) >> 4) * 0xC2B2AE3D27D4EB4Fu;
    return sites[hash >> 55];
}

inline bool is_at(const Site &site, PyObject *name, PyObject *kwnames, const Options *set)
{
    return site.name == name && site.kwnames == kwnames && site.set == set;
}

/* The longest prefix of at most `limit` bytes that does not end inside a character. */
uint32_t prefix_bytes(const char *text, uint32_t limit)
{
    while (limit > 0 && (text[limit] & 0xC0) == 0x80)
        limit--;
    return limit;
}

/* Text of a descriptor: a space ends a word there. */
std::string word(PyObject *text)
{
    Py_ssize_t bytes;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &bytes);
    if (!utf8) {
        PyErr_Clear();
        return "_";
    }
    std::string word(utf8, static_cast<size_t>(bytes) <= max_word_bytes ? static_cast<size_t>(bytes)
                                                                        : prefix_bytes(utf8, max_word_bytes));
    for (char &c : word)
        if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f)
            c = '_';
    return word.empty() ? "_" : word;
}

const char *type_name(FieldType type)
{
    static const char *const names[] = {"", "str", "i64", "u64", "f64", "bool", "bytes"};
    return names[type];
}

} // namespace

static_assert(sizeof(Site::types) == site_fields);

void forget_schemas()
{
    for (auto &ways : sites)
        for (Site &site : ways) {
            Site old = site;
            site = {};
            Py_XDECREF(old.name);
            Py_XDECREF(old.kwnames);
        }
    known_schemas().clear();
}

bool Payload::open(Options &options, PyObject *name, PyObject *const *values, PyObject *kwnames)
{
    set_ = &options;
    name_ = name;
    kwnames_ = kwnames;
    values_ = values;
    count_ = kwnames ? static_cast<unsigned>(PyTuple_GET_SIZE(kwnames)) : 0;
    Site *ways = sites_of(name, kwnames);
    for (unsigned way = 0; way < site_ways; way++)
        if (is_at(ways[way], name, kwnames, set_)) {
            std::memcpy(roles_, ways[way].roles, sizeof roles_);
            known_ = true;
            break;
        }
    if (!known_) {
        if (!PyUnicode_Check(name)) {
            PyErr_Format(PyExc_TypeError, "%s() takes a name of type str first, not %s", options.function,
                         Py_TYPE(name)->tp_name);
            return false;
        }
        resolve();
    }
    for (unsigned i = 0; i < count_; i++)
        if (all_roles_[i])
            options_[all_roles_[i] - 1] = values[i];
    return true;
}

/* Which keywords are options? */
void Payload::resolve()
{
    if (count_ > inline_fields) {
        fields_more_.reset(new Field[count_]);
        roles_more_.reset(new uint8_t[count_]);
        fields_ = fields_more_.get();
        all_roles_ = roles_more_.get();
    } else {
        std::memset(roles_, 0, sizeof roles_);
    }
    for (unsigned i = 0; i < count_; i++) {
        all_roles_[i] = 0;
        for (unsigned option = 0; option < 2 && set_->names[option]; option++)
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames_, i), set_->names[option]) == 0)
                all_roles_[i] = static_cast<uint8_t>(option + 1);
    }
}

void Payload::scan()
{
    std::memset(types_, 0, sizeof types_);
    size_t bytes = 0;
    for (unsigned i = 0; i < count_; i++) {
        Field &field = fields_[i];
        field.type = FIELD_NONE;
        if (all_roles_[i])
            continue;
        scan_value(values_[i], field);
        bytes += field.fixed_bytes() + field.text_bytes();
        if (i < inline_fields)
            types_[i] = field.type;
    }
    bytes_ = bytes;
    if (count_ <= inline_fields) {
        Site *ways = sites_of(name_, kwnames_);
        for (unsigned way = 0; way < site_ways; way++)
            if (is_at(ways[way], name_, kwnames_, set_) &&
                std::memcmp(ways[way].types, types_, sizeof types_) == 0) {
                schema_ = ways[way].schema;
                return;
            }
    }
    find_schema();
}

inline void Payload::scan_value(PyObject *value, Field &field)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type) {
        scan_text(value, field);
    } else if (type == &PyLong_Type) {
        if (!scan_integer(value, field))
            scan_other(value, field);
    } else if (type == &PyFloat_Type) {
        field.type = FIELD_F64;
        field.f64 = PyFloat_AS_DOUBLE(value);
    } else if (type == &PyBool_Type) {
        field.type = FIELD_BOOL;
        field.flag = value == Py_True;
    } else {
        scan_other(value, field);
    }
}

inline void Payload::scan_text(PyObject *value, Field &field)
{
    const char *text;
    Py_ssize_t bytes;
    if (PyUnicode_IS_COMPACT_ASCII(value)) {
        text = static_cast<const char *>(PyUnicode_DATA(value));
        bytes = PyUnicode_GET_LENGTH(value);
    } else if (!(text = PyUnicode_AsUTF8AndSize(value, &bytes))) {
        PyErr_Clear(); /* lone surrogates */
        PyObject *encoded = PyUnicode_AsEncodedString(value, "utf-8", "backslashreplace");
        hold(encoded);
        text = encoded ? PyBytes_AS_STRING(encoded) : "";
        bytes = encoded ? PyBytes_GET_SIZE(encoded) : 0;
    }
    field.type = FIELD_STR;
    field.text = text;
    field.bytes = static_cast<size_t>(bytes) <= max_text_bytes ? static_cast<uint32_t>(bytes)
                                                               : prefix_bytes(text, max_text_bytes);
}

/* False if the value fits neither i64 nor u64. */
inline bool Payload::scan_integer(PyObject *value, Field &field)
{
    int overflow;
    field.i64 = PyLong_AsLongLongAndOverflow(value, &overflow);
    field.type = FIELD_I64;
    if (__builtin_expect(overflow != 0, 0)) {
        if (overflow < 0)
            return false;
        field.u64 = PyLong_AsUnsignedLongLong(value);
        field.type = FIELD_U64;
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
    }
    return true;
}

/* Subclasses, what can be an index (numpy's integers), and `str()` of everything else. */
void Payload::scan_other(PyObject *value, Field &field)
{
    if (PyUnicode_Check(value))
        return scan_text(value, field);
    if (PyBytes_Check(value)) {
        field.type = FIELD_BYTES;
        field.text = PyBytes_AS_STRING(value);
        field.bytes = static_cast<uint32_t>(std::min<size_t>(PyBytes_GET_SIZE(value), max_text_bytes));
        return;
    }
    if (PyFloat_Check(value)) {
        field.type = FIELD_F64;
        field.f64 = PyFloat_AS_DOUBLE(value);
        return;
    }
    if (PyIndex_Check(value)) {
        PyObject *integer = PyNumber_Index(value);
        bool fits = integer && scan_integer(integer, field);
        PyErr_Clear();
        Py_XDECREF(integer);
        if (fits)
            return;
    }
    PyObject *text = PyObject_Str(value);
    if (!text) {
        PyErr_Clear();
        text = PyUnicode_FromFormat("<%s>", Py_TYPE(value)->tp_name);
    }
    hold(text);
    if (text)
        return scan_text(text, field);
    PyErr_Clear();
    field.type = FIELD_STR;
    field.text = "";
    field.bytes = 0;
}

/* Keep a new reference until the call is over. */
void Payload::hold(PyObject *value)
{
    if (!value)
        return;
    if (!owned_)
        owned_ = PyList_New(0);
    if (!owned_ || PyList_Append(owned_, value) < 0)
        PyErr_Clear(); /* out of memory: rather leak it than read what is gone */
    else
        Py_DECREF(value);
}

/* The slow way: by the descriptor's text. */
void Payload::find_schema()
{
    std::string name = word(name_), fields;
    for (unsigned i = 0; i < count_; i++)
        if (fields_[i].type != FIELD_NONE) {
            fields += fields.empty() ? "" : " ";
            fields += word(PyTuple_GET_ITEM(kwnames_, i)) + ":" + type_name(fields_[i].type);
        }
    auto &known = known_schemas();
    if (known.size() > max_known_schemas)
        known.clear();
    auto [entry, is_new] = known.try_emplace(name + " " + fields, 0);
    if (is_new)
        entry->second = wbpf_schema_register(name.c_str(), fields.empty() ? nullptr : fields.c_str());
    schema_ = entry->second;
    if (!schema_ && !wbpf_segment_path())
        known.clear(); /* not open yet */
    else if (count_ <= inline_fields) {
        Site *ways = sites_of(name_, kwnames_);
        Site last = ways[site_ways - 1];
        std::memmove(ways + 1, ways, (site_ways - 1) * sizeof *ways);
        Py_INCREF(name_);
        Py_XINCREF(kwnames_);
        ways[0] = {name_, kwnames_, set_, schema_, {}, {}};
        std::memcpy(ways[0].roles, roles_, sizeof roles_);
        std::memcpy(ways[0].types, types_, sizeof types_);
        Py_XDECREF(last.name);
        Py_XDECREF(last.kwnames);
    }
}

void Payload::write(char *out) const
{
    for (unsigned i = 0; i < count_; i++) {
        const Field &field = fields_[i];
        switch (field.type) {
        case FIELD_STR:
        case FIELD_BYTES: {
            uint16_t bytes = static_cast<uint16_t>(field.bytes);
            std::memcpy(out, &bytes, 2);
            std::memcpy(out + 2, field.text, bytes);
            out += 2 + bytes;
            break;
        }
        case FIELD_BOOL:
            *out++ = field.flag;
            break;
        case FIELD_NONE:
            break;
        default:
            std::memcpy(out, &field.i64, 8);
            out += 8;
        }
    }
}

void Payload::record(unsigned level, const TraceContext *context)
{
    scan();
    if (__builtin_expect(owned_ != nullptr, 0))
        context_activate(context); /* Python code ran: it may have traced */
    if (__builtin_expect(schema_ == 0, 0)) {
        std::string line = text();
        return wbpf_log(level, line.data(), line.size());
    }
    char *room = static_cast<char *>(wbpf_reserve(schema_, level, bytes_));
    if (room) {
        size_t longest = wbpf_longest_payload();
        if (__builtin_expect(bytes_ > longest, 0))
            cut(longest); /* else the last fields were cut off */
        write(room);
        wbpf_commit(bytes_);
    }
}

/* Cut the longest texts so that the payload is at most `limit` bytes, or as near to that as can be. */
void Payload::cut(size_t limit)
{
    uint32_t low = 0, high = max_text_bytes; /* to how many bytes each */
    auto size_at = [&](uint32_t each) {
        size_t bytes = 0;
        for (unsigned i = 0; i < count_; i++)
            bytes += std::min(fields_[i].text_bytes(), each) + fields_[i].fixed_bytes();
        return bytes;
    };
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (size_at(middle) <= limit)
            low = middle;
        else
            high = middle - 1;
    }
    for (unsigned i = 0; i < count_; i++) {
        Field &field = fields_[i];
        if (field.text_bytes() > low)
            field.bytes = field.type == FIELD_STR ? prefix_bytes(field.text, low) : low;
    }
    bytes_ = size_at(max_text_bytes);
}

std::string Payload::text() const
{
    std::string text = word(name_);
    for (unsigned i = 0; i < count_; i++) {
        const Field &field = fields_[i];
        if (field.type == FIELD_NONE)
            continue;
        text += " " + word(PyTuple_GET_ITEM(kwnames_, i)) + "=";
        switch (field.type) {
        case FIELD_STR:
            text.append(field.text, field.bytes);
            break;
        case FIELD_BYTES:
            for (uint32_t byte = 0; byte < field.bytes; byte++) {
                char hex[3];
                std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(field.text[byte]));
                text += hex;
            }
            break;
        case FIELD_BOOL:
            text += field.flag ? "true" : "false";
            break;
        case FIELD_F64:
            text += std::to_string(field.f64);
            break;
        case FIELD_U64:
            text += std::to_string(field.u64);
            break;
        default:
            text += std::to_string(field.i64);
        }
    }
    return text;
}

int level_from(PyObject *value)
{
    if (PyLong_Check(value)) {
        long level = PyLong_AsLong(value);
        if (level >= WBPF_LEVEL_TRACE && level <= WBPF_LEVEL_OFF)
            return static_cast<int>(level);
        PyErr_Clear();
    } else if (PyUnicode_Check(value)) {
        const char *text = PyUnicode_AsUTF8(value);
        if (unsigned level = text ? wbpf_level_named(text) : 0)
            return static_cast<int>(level);
        PyErr_Clear();
    } else {
        PyErr_Format(PyExc_TypeError, "a level is an int or a str, not %s", Py_TYPE(value)->tp_name);
        return -1;
    }
    set_error("ConfigError", repr_of(value) + " is not a level", "",
              "use trace, debug, info, warn, error, fatal, off, or a number from 1 to 255");
    return -1;
}

wbpf_schema name_schema(PyObject *name)
{
    static Options none = {"wbpf", {nullptr, nullptr}};
    Payload payload;
    if (!payload.open(none, name, nullptr, nullptr))
        return 0;
    payload.scan();
    return payload.schema();
}

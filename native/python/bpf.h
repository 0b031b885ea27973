/* What the files about eBPF share. Errors are returned, as negative errno: the Python side knows the names
 * that make a good message. */
#ifndef WBPF_PYTHON_BPF_H
#define WBPF_PYTHON_BPF_H

#include "bindings.h"
#include "kernel/kernel.h"
#include <cstring>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <optional>
#include <string>

void bind_bpf_object(nanobind::module_ &module);
void bind_bpf_maps(nanobind::module_ &module);
void bind_bpf_rings(nanobind::module_ &module);

/* Text from an object file, which may be anything. */
inline nanobind::str decode_text(const char *text)
{
    return nanobind::steal<nanobind::str>(
        PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "replace"));
}

/* Something that C code made: destroyed once, at the latest with its Python object. */
template <typename Native, void (*destroy)(Native *)> class Owned
{
  public:
    explicit Owned(Native *native) : native_(native) {}
    ~Owned() { close(); }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;

    void close()
    {
        Native *native = native_;
        native_ = nullptr;
        if (native)
            destroy(native);
    }

  protected:
    Native *use(const char *what) const
    {
        if (!native_)
            raise_error("BpfError", std::string("the ") + what + " can't be used", "it was closed",
                        "open it again");
        return native_;
    }

  private:
    Native *native_;
};

/* (object, 0), or (None, error). */
template <typename Wrapper, typename Native> nanobind::tuple made(int error, Native *native)
{
    if (error)
        return nanobind::make_tuple(nanobind::none(), error);
    return nanobind::make_tuple(nanobind::cast(new Wrapper(native), nanobind::rv_policy::take_ownership), 0);
}

#endif

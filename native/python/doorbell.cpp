/* The doorbell of a host: a futex word in a file. */
#include "bindings.h"
#include "recorder/cut.h"
#include "recorder/reader.h"
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <linux/futex.h>
#include <nanobind/stl/string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace
{

/* The word in a host's folder that is bumped when something wants attention there. */
class Doorbell
{
  public:
    explicit Doorbell(std::string path) : path_(std::move(path))
    {
        int fd = open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        struct stat st = {};
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size < bytes)
            st.st_size = 0, errno = EINVAL;
        void *mapped =
            st.st_size ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
        int error = errno;
        if (fd >= 0)
            ::close(fd);
        if (mapped == MAP_FAILED)
            raise_error(error == EACCES || error == EPERM ? "AccessError" : "SegmentError",
                        "the doorbell " + path_ + " can't be opened",
                        error == EINVAL ? "it is no doorbell: too short" : std::strerror(error),
                        "check who may write to it, or remove it when nothing of wBPF runs");
        bell_ = static_cast<uint32_t *>(mapped);
        watched_ = mapping_watch(static_cast<uint8_t *>(mapped), bytes); /* cut, it only rings no more */
    }
    ~Doorbell()
    {
        if (watched_)
            mapping_unwatch(watched_);
        munmap(bell_, bytes);
    }
    Doorbell(const Doorbell &) = delete;
    Doorbell &operator=(const Doorbell &) = delete;

    uint32_t wait(uint32_t seen, double timeout_s)
    {
        constexpr double slice_s = 0.15; /* so that Ctrl-C is heard, whichever thread got the signal */
        using clock = std::chrono::steady_clock;
        auto begin = clock::now();
        for (double left_s = timeout_s;;
             left_s = timeout_s - std::chrono::duration<double>(clock::now() - begin).count()) {
            double now_s = left_s > 0 ? std::min(left_s, slice_s) : 0;
            uint32_t word;
            {
                nb::gil_scoped_release release;
                word = wbpf_bell_wait(bell_, seen, static_cast<uint64_t>(now_s * 1e9));
            }
            if (PyErr_CheckSignals() < 0)
                throw nb::python_error();
            if (word != seen || !(left_s > now_s))
                return word;
        }
    }

    void ring()
    {
        __atomic_fetch_add(bell_, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, bell_, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
    }

  private:
    static constexpr off_t bytes = 4096;
    std::string path_;
    uint32_t *bell_ = nullptr;
    watched_mapping *watched_ = nullptr;
};

} // namespace

void bind_doorbell(nb::module_ &m)
{
    nb::class_<Doorbell>(m, "Doorbell", "A word in shared memory that processes wait on.")
        .def(nb::init<std::string>(), "path"_a)
        .def("wait", &Doorbell::wait, "seen"_a, "timeout_s"_a)
        .def("ring", &Doorbell::ring);
}

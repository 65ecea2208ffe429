#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/cluster_reader.hpp"

namespace fairlead::python {
namespace {

// (offset, bytes, tag, offset of the target in the buffer)
using Read = std::tuple<std::uint64_t, std::uint32_t, std::uint32_t, std::size_t>;

// A reader into an aligned buffer that the caller owns.
class BoundReader {
public:
    BoundReader(std::string path, Array<std::uint8_t, 1> buffer, std::size_t depth, std::size_t threads, bool direct,
                bool uring)
        : buffer_(buffer), reader_(std::move(path), {depth, threads, direct, uring, {}}), in_use_(depth, false) {
        require(reinterpret_cast<std::uintptr_t>(buffer.data()) % kBlock == 0, "buffer: must be aligned to 4096 bytes");
    }

    void submit(const std::vector<Read>& reads) {
        require(reads.size() + reader_.in_flight() <= reader_.depth(), "reads: more than fit the reader's depth");
        std::vector<BlockRead> blocks;
        for (const auto& [offset, bytes, tag, target] : reads) {
            require(offset % kBlock == 0 && bytes % kBlock == 0 && target % kBlock == 0 && bytes > 0,
                    "reads: offsets and sizes must be multiples of 4096");
            require(target <= buffer_.size() && bytes <= buffer_.size() - target, "reads: outside the buffer");
            require(tag < in_use_.size() && !in_use_[tag], "reads: tags must be below depth and not in use");
            in_use_[tag] = true;
            blocks.push_back({offset, bytes, tag, buffer_.data() + target});
        }
        const nb::gil_scoped_release released;
        try {
            reader_.submit(blocks.data(), blocks.size());
        } catch (const ReadError&) {
            for (const BlockRead& block : blocks) in_use_[block.tag] = false;
            throw;
        }
    }

    std::vector<std::uint32_t> wait(bool block) {
        std::vector<std::uint32_t> finished;
        const nb::gil_scoped_release released;
        try {
            reader_.wait(finished, block);
        } catch (const ReadError&) {
            reader_.drain();
            in_use_.assign(in_use_.size(), false);
            throw;
        }
        for (const std::uint32_t tag : finished) in_use_[tag] = false;
        return finished;
    }

    ClusterReader& reader() { return reader_; }

private:
    Array<std::uint8_t, 1> buffer_;
    ClusterReader reader_;
    std::vector<bool> in_use_;
};

void raise_read_error(const std::exception_ptr& raised, void*) {
    try {
        std::rethrow_exception(raised);
    } catch (const ReadError& error) {
        // OSError(errno, text, file) chooses FileNotFoundError and its kin by itself.
        const int code = error.code() == 0 ? 5 : error.code();
        PyErr_SetObject(PyExc_OSError, nb::make_tuple(code, error.what(), error.path()).ptr());
    }
}

}  // namespace

void bind_reader(nb::module_& module) {
    nb::register_exception_translator(raise_read_error);
    nb::class_<BoundReader>(module, "ClusterReader")
        .def(nb::init<std::string, Array<std::uint8_t, 1>, std::size_t, std::size_t, bool, bool>(), nb::arg("path"),
             nb::arg("buffer").noconvert(), nb::arg("depth") = 64, nb::arg("threads") = 4, nb::arg("direct") = true,
             nb::arg("uring") = true)
        .def("submit", &BoundReader::submit)
        .def("wait", &BoundReader::wait, nb::arg("block") = true)
        .def_prop_ro("engine", [](BoundReader& self) { return self.reader().engine(); })
        .def_prop_ro("direct", [](BoundReader& self) { return self.reader().direct(); })
        .def_prop_ro("size", [](BoundReader& self) { return self.reader().size(); })
        .def_prop_ro("in_flight", [](BoundReader& self) { return self.reader().in_flight(); })
        .def_prop_ro("bytes_read", [](BoundReader& self) { return self.reader().bytes_read(); })
        .def_prop_ro("busy_seconds", [](BoundReader& self) { return self.reader().busy_seconds(); })
        .def_prop_ro("waited_seconds", [](BoundReader& self) { return self.reader().waited_seconds(); })
        .def_prop_ro("descriptor", [](BoundReader& self) { return self.reader().descriptor(); });
}

}  // namespace fairlead::python

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <deque>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/vectors/crc32c.hpp"
#include "fairlead/vectors/packed_floats.hpp"
#include "fairlead/vectors/tier.hpp"

namespace fairlead::python {
namespace {

using Offsets = Array<const std::uint64_t, 1>;
using Lengths = Array<const std::uint32_t, 1>;

void raise_as(const char* name, const TierError& error) {
    const nb::object type = nb::module_::import_("fairlead_kernels.tier_errors").attr(name);
    PyErr_SetObject(type.ptr(), nb::make_tuple(error.what(), error.url()).ptr());
}

void raise_tier_error(const std::exception_ptr& raised, void*) {
    try {
        std::rethrow_exception(raised);
    } catch (const TierTimeout& error) {
        raise_as("TierTimeout", error);
    } catch (const TierLost& error) {
        raise_as("TierLost", error);
    } catch (const TierError& error) {
        raise_as("TierError", error);
    }
}

// Reads [offsets[i], offsets[i] + lengths[i]) one behind the other into out.
void read(Tier& tier, const Offsets& offsets, const Lengths& lengths, const Array<std::uint8_t, 1>& out) {
    require(offsets.size() == lengths.size(), "lengths: must be as many as offsets");
    std::vector<TierRead> reads(offsets.size());
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < reads.size(); ++i) {
        require(lengths.data()[i] <= out.size() - at, "out: is smaller than the sum of lengths");
        reads[i] = {offsets.data()[i], lengths.data()[i], reinterpret_cast<std::byte*>(out.data()) + at};
        at += lengths.data()[i];
    }
    const nb::gil_scoped_release released;
    tier.wait(tier.submit(reads));
}

struct Flight {
    std::uint64_t ticket;
    double since;
};

// Keeps `in_flight` batches of `batch` reads out; writes each batch's seconds to `latencies`, returns the seconds of all.
double measure(Tier& tier, const Offsets& offsets, std::uint32_t length, std::size_t batch, std::size_t in_flight,
               const Array<double, 1>& latencies) {
    require(batch > 0 && in_flight > 0 && length > 0, "batch, in_flight, length: must be positive");
    require(latencies.size() * batch == offsets.size(), "latencies: must be offsets / batch");
    const nb::gil_scoped_release released;
    std::byte* into = tier.landing(batch * in_flight * length).data();
    std::vector<TierRead> reads(batch);
    std::deque<Flight> out;
    std::size_t ended = 0;
    const auto end = [&] {
        tier.wait(out.front().ticket);
        latencies.data()[ended++] = monotonic_seconds() - out.front().since;
        out.pop_front();
    };
    const double started = monotonic_seconds();
    for (std::size_t i = 0; i < latencies.size(); ++i) {
        if (out.size() == in_flight) end();
        std::byte* slot = into + (i % in_flight) * batch * length;
        for (std::size_t j = 0; j < batch; ++j) reads[j] = {offsets.data()[i * batch + j], length, slot + j * length};
        const double since = monotonic_seconds();
        out.push_back({tier.submit(reads), since});
    }
    while (!out.empty()) end();
    return monotonic_seconds() - started;
}

std::span<const std::byte> view(const Array<const std::uint8_t, 1>& array) {
    return {reinterpret_cast<const std::byte*>(array.data()), array.size()};
}

FileTierOptions file_options(std::size_t depth, std::size_t threads, bool direct, bool uring, double timeout,
                             const std::vector<std::pair<std::uint64_t, std::uint64_t>>& broken) {
    FileTierOptions options{depth, threads, direct, uring, timeout, {}};
    for (const auto& [begin, end] : broken) options.broken.push_back({begin, end});
    return options;
}

nb::object memory_array(const std::shared_ptr<TierMemory>& memory) {
    const std::size_t shape[1] = {memory->size()};
    nb::object owner = nb::cast(memory);
    if (!memory->writable()) {
        return nb::cast(nb::ndarray<nb::numpy, const std::uint8_t>(memory->data(), 1, shape, owner));
    }
    return nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(memory->data(), 1, shape, owner));
}

void bind_memory(nb::module_& module) {
    nb::class_<TierMemory>(module, "TierMemory")
        .def_static("anonymous", &TierMemory::anonymous, nb::arg("size"))
        .def_static("on_node", &TierMemory::on_node, nb::arg("size"), nb::arg("node"))
        .def_static("mapped", &TierMemory::mapped, nb::arg("file"), nb::arg("size"), nb::arg("writable") = true)
        .def_prop_ro("size", &TierMemory::size)
        .def_prop_ro("address", [](const TierMemory& self) { return reinterpret_cast<std::uintptr_t>(self.data()); })
        .def("array", [](const std::shared_ptr<TierMemory>& self) { return memory_array(self); });
}

void bind_kinds(nb::module_& module) {
    module.def(
        "memory_tier",
        [](std::string url, std::shared_ptr<TierMemory> memory) { return make_memory_tier(std::move(url), std::move(memory)); },
        nb::arg("url"), nb::arg("memory"));
    module.def("replicated_tier", &make_replicated_tier, nb::arg("url"), nb::arg("replicas"));
    module.def(
        "file_tier",
        [](std::string url, std::string path, std::size_t depth, std::size_t threads, bool direct, bool uring, double timeout,
           const std::vector<std::pair<std::uint64_t, std::uint64_t>>& broken) {
            return make_file_tier(std::move(url), std::move(path), file_options(depth, threads, direct, uring, timeout, broken));
        },
        nb::arg("url"), nb::arg("path"), nb::arg("depth") = 128, nb::arg("threads") = 8, nb::arg("direct") = false,
        nb::arg("uring") = true, nb::arg("timeout") = kTierTimeout,
        nb::arg("broken") = std::vector<std::pair<std::uint64_t, std::uint64_t>>{});
}

using Rows = Array<const std::uint8_t, 2>;

void pack_rows(vectors::SpilledRows& spilled, std::uint64_t first, const Rows& rows, const Array<std::uint8_t, 2>& out) {
    require(rows.shape(1) % 4 == 0, "rows: must be bytes of float32");
    const vectors::PackedFloats packing(rows.shape(1) / 4);
    require(out.shape(0) == rows.shape(0) && out.shape(1) == packing.stride(), "out: must be uint8 [n, stride]");
    const nb::gil_scoped_release released;
    vectors::pack_rows(packing, spilled, first, reinterpret_cast<const std::byte*>(rows.data()), rows.shape(0), out.data());
}

void unpack_rows(const vectors::SpilledRows& spilled, std::uint64_t first, const Rows& packed,
                 const Array<std::uint8_t, 2>& out) {
    const vectors::PackedFloats packing(out.shape(1) / 4);
    require(out.shape(1) % 4 == 0, "out: must be bytes of float32");
    require(packed.shape(0) == out.shape(0) && packed.shape(1) == packing.stride(), "packed: must be uint8 [n, stride]");
    const nb::gil_scoped_release released;
    for (std::size_t i = 0; i < out.shape(0); ++i) {
        const std::uint8_t* from = packed.data() + i * packing.stride();
        auto* row = reinterpret_cast<std::byte*>(out.data() + i * packing.row_bytes());
        if (packing.spilled(from)) {
            spilled.copy(first + i, row, packing.row_bytes());
        } else {
            packing.unpack(from, row);
        }
    }
}

void bind_packed_floats(nb::module_& module) {
    nb::class_<vectors::SpilledRows>(module, "SpilledRows")
        .def(nb::init<>())
        .def_prop_ro("count", &vectors::SpilledRows::size)
        .def("pack", &pack_rows, nb::arg("first"), nb::arg("rows"), nb::arg("out").noconvert())
        .def("unpack", &unpack_rows, nb::arg("first"), nb::arg("packed"), nb::arg("out").noconvert());
    module.def("packed_tier", &make_packed_tier, nb::arg("inner"), nb::arg("dim"), nb::arg("spilled"));
}

}  // namespace

void bind_tier_servers(nb::module_& module);

void bind_tiers(nb::module_& module) {
    nb::register_exception_translator(raise_tier_error);
    bind_memory(module);
    nb::class_<Tier>(module, "Tier", nb::is_weak_referenceable())
        .def_prop_ro("url", &Tier::url)
        .def_prop_ro("kind", &Tier::kind)
        .def_prop_ro("size", &Tier::size)
        .def_prop_ro("timeout", &Tier::timeout)
        .def_prop_ro("direct", [](const Tier& self) { return self.size() > 0 && self.direct(0) != nullptr; })
        .def_prop_ro("counters",
                     [](const Tier& self) {
                         const TierCounters& seen = self.counters();
                         return nb::make_tuple(seen.batches, seen.reads, seen.bytes);
                     })
        .def("read", &read, nb::arg("offsets"), nb::arg("lengths"), nb::arg("out").noconvert())
        .def("measure", &measure, nb::arg("offsets"), nb::arg("length"), nb::arg("batch"), nb::arg("in_flight"),
             nb::arg("latencies").noconvert())
        .def(
            "write",
            [](Tier& self, std::uint64_t offset, const Array<const std::uint8_t, 1>& bytes) {
                const nb::gil_scoped_release released;
                self.write(offset, view(bytes));
            },
            nb::arg("offset"), nb::arg("bytes"));
    bind_kinds(module);
    bind_packed_floats(module);
    module.def(
        "crc32c",
        [](const Array<const std::uint8_t, 1>& bytes, std::uint32_t before) {
            const nb::gil_scoped_release released;
            return crc32c(bytes.data(), bytes.size(), before);
        },
        nb::arg("bytes"), nb::arg("before") = 0);
#if defined(__linux__)
    bind_tier_servers(module);
#endif
}

}  // namespace fairlead::python

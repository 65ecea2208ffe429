#include <algorithm>
#include <string_view>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/vectors/kmeans.hpp"
#include "fairlead/vectors/list_kernels.hpp"
#include "fairlead/vectors/list_stream.hpp"
#include "fairlead/vectors/lists.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::vectors;

using Floats1 = Array<const float, 1>;
using Slots = Array<const std::uint32_t, 1>;
using Bytes = Array<const std::uint8_t, 2>;

template <class T>
std::vector<T> taken(const Array<const T, 1>& array) {
    return {array.data(), array.data() + array.size()};
}

template <class T>
nb::object given(std::vector<T> values) {
    auto* kept = new std::vector<T>(std::move(values));
    const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    const std::size_t shape[1] = {kept->size()};
    return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), 1, shape, owner));
}

ListTraining training_of(int element, int metric, std::size_t dim, std::size_t bytes_dims, std::size_t nibble_dims,
                         bool tail, const std::vector<Floats1>& arrays) {
    require(element >= 0 && element <= static_cast<int>(Element::bit), "element: unknown");
    require(metric >= 0 && metric <= static_cast<int>(Metric::cosine), "metric: unknown");
    require(dim >= 1 && dim <= kMostDim, "dim: must be 1.." + std::to_string(kMostDim));
    require(bytes_dims + nibble_dims / 2 <= 4096, "lead: codes of at most 4096 bytes");
    require(arrays.size() == 5, "arrays: must be mean, reflectors, triangle, steps and signs");
    const Space space{static_cast<Element>(element), static_cast<Metric>(metric), static_cast<std::uint32_t>(dim)};
    return {space, static_cast<std::uint32_t>(bytes_dims), static_cast<std::uint32_t>(nibble_dims), tail,
            taken(arrays[0]), taken(arrays[1]), taken(arrays[2]), taken(arrays[3]), taken(arrays[4])};
}

const std::byte* rows(const Lists& lists, const Bytes& vectors, std::size_t count, const char* name) {
    require(vectors.shape(0) == count && vectors.shape(1) == lists.row_bytes(),
            std::string(name) + ": must be uint8 [n, " + std::to_string(lists.row_bytes()) + "], as many as slots");
    return reinterpret_cast<const std::byte*>(vectors.data());
}

void add(Lists& lists, Tier& tier, const Slots& slots, const Bytes& vectors, const Slots& into) {
    const std::byte* bytes = rows(lists, vectors, slots.size(), "vectors");
    require(into.size() == 0 || into.size() == slots.size(), "lists: must be as many as slots, or none");
    const nb::gil_scoped_release released;
    lists.add(tier, slots.data(), bytes, slots.size(), into.size() > 0 ? into.data() : nullptr);
}

void get(const Lists& lists, Tier& tier, const Slots& slots, Array<std::uint8_t, 2> out) {
    require(out.shape(0) == slots.size() && out.shape(1) == lists.row_bytes(), "out: must be [slots, row_bytes]");
    const nb::gil_scoped_release released;
    lists.vectors(tier, slots.data(), slots.size(), reinterpret_cast<std::byte*>(out.data()));
}

ListSearch options_of(std::size_t k, std::size_t probes, std::size_t candidates, std::size_t reads, float confidence,
                      float spread, std::size_t in_flight, std::size_t gap, bool exact) {
    require(k >= 1 && k <= (1U << 20), "k: must be 1..1048576");
    require(probes >= 1, "probes: must be at least 1");
    require(in_flight >= 1 && in_flight <= 4096, "in_flight: must be 1..4096");
    require(gap <= (1U << 20), "gap: must be 0..1048576");
    const auto small = [](std::size_t n) { return static_cast<std::uint32_t>(std::min<std::size_t>(n, 1U << 24)); };
    ListSearch options;
    options.k = small(k);
    options.probes = small(probes);
    options.reads = small(std::max(reads, k));
    options.candidates = small(std::max<std::size_t>(candidates, options.reads));
    options.confidence = confidence;
    options.spread = spread;
    options.in_flight = small(in_flight);
    options.gap = small(gap);
    options.exact = exact;
    return options;
}

// Where answers go: arrays that the caller made.
struct FoundArrays {
    Array<std::int64_t, 2> slots;
    Array<float, 2> distances;
    Array<std::int32_t, 2> counts;
    Array<std::int64_t, 1> bytes;

    ListFound of(std::size_t count, std::size_t k) const {
        require(slots.shape(0) == count && slots.shape(1) == k && distances.shape(0) == count &&
                    distances.shape(1) == k && counts.shape(0) == 3 && counts.shape(1) == count && bytes.size() == count,
                "found: must be [queries, k], [3, queries] and [queries]");
        return {slots.data(), distances.data(), counts.data(), counts.data() + count, bytes.data(),
                counts.data() + 2 * count};
    }
};

using Found = std::tuple<Array<std::int64_t, 2>, Array<float, 2>, Array<std::int32_t, 2>, Array<std::int64_t, 1>>;
using Effort = std::tuple<std::size_t, std::size_t, std::size_t, float, float, std::size_t, std::size_t, bool>;

FoundArrays arrays_of(const Found& found) {
    return {std::get<0>(found), std::get<1>(found), std::get<2>(found), std::get<3>(found)};
}

ListSearch options_of(std::size_t k, const Effort& effort, const std::optional<Array<const std::uint8_t, 1>>& allowed) {
    const auto& [probes, candidates, reads, confidence, spread, in_flight, gap, exact] = effort;
    ListSearch options = options_of(k, probes, candidates, reads, confidence, spread, in_flight, gap, exact);
    if (allowed) {
        options.allowed = {allowed->data(), allowed->size()};
        options.all = false;
    }
    return options;
}

void require_rows(const Lists& lists, const std::vector<Tier*>& tiers) {
    require(!tiers.empty(), "tiers: must be one for each thread");
    for (const Tier* tier : tiers) {
        require(tier->size() / std::max<std::size_t>(1, lists.row_bytes()) >= lists.rows(), "tiers: are too small");
    }
}

void search(const Lists& lists, const std::vector<Tier*>& tiers, const Bytes& queries, std::size_t k,
            const Effort& effort, const std::optional<Array<const std::uint8_t, 1>>& allowed, const Found& found) {
    const std::size_t count = queries.shape(0);
    const std::byte* from = rows(lists, queries, count, "queries");
    require_rows(lists, tiers);
    const ListSearch options = options_of(k, effort, allowed);
    const ListFound into = arrays_of(found).of(count, k);
    const nb::gil_scoped_release released;
    lists.search(tiers, from, count, options, into);
}

void search_streamed(ListStream& stream, const Lists& lists, const Bytes& queries, std::size_t k, const Effort& effort,
                     const std::optional<Array<const std::uint8_t, 1>>& allowed, const Found& found) {
    const std::size_t count = queries.shape(0);
    const std::byte* from = rows(lists, queries, count, "queries");
    const ListSearch options = options_of(k, effort, allowed);
    const ListFound into = arrays_of(found).of(count, k);
    const nb::gil_scoped_release released;
    stream.search(from, count, options, into);
}

void replay_streamed(ListStream& stream, const Lists& lists, const Bytes& queries, std::size_t k, const Effort& effort,
                     const Array<const double, 1>& due, const Found& found, Array<double, 1> waited) {
    const std::byte* from = rows(lists, queries, queries.shape(0), "queries");
    require(queries.shape(0) > 0 && waited.size() == due.size(), "queries, waited: must be 1 and above, and as many as due");
    const ListSearch options = options_of(k, effort, std::nullopt);
    const ListFound into = arrays_of(found).of(due.size(), k);
    const nb::gil_scoped_release released;
    stream.replay(from, queries.shape(0), {due.data(), due.size()}, waited.data(), options, into);
}

Closure closure_of(const std::tuple<std::size_t, float, float, std::size_t>& given) {
    const auto& [copies, apart, near, room] = given;
    require(copies <= 7, "copies: must be 0..7");
    require(apart > 0 && near > 0, "apart, near: must be above 0");
    return {static_cast<std::uint32_t>(copies), apart, near,
            static_cast<std::uint32_t>(std::min<std::size_t>(room, kMostEntries))};
}

nb::object closure(const Lists& lists, const Bytes& vectors) {
    const std::byte* from = rows(lists, vectors, vectors.shape(0), "vectors");
    std::vector<std::uint32_t> into(vectors.shape(0) * lists.most_lists());
    {
        const nb::gil_scoped_release released;
        lists.closure(from, vectors.shape(0), into.data());
    }
    return given(std::move(into));
}

nb::tuple assign(const Lists& lists, const Bytes& vectors) {
    const std::byte* from = rows(lists, vectors, vectors.shape(0), "vectors");
    std::vector<std::uint32_t> into(vectors.shape(0));
    std::vector<float> order(vectors.shape(0));
    {
        const nb::gil_scoped_release released;
        lists.assign(from, into.size(), into.data(), order.data());
    }
    return nb::make_tuple(given(std::move(into)), given(std::move(order)));
}

// What codes say about queries and vectors of one list: estimates [queries, vectors], to hold against the reference.
void estimates(const Lists& lists, const Bytes& queries, const Bytes& vectors, const Floats1& centroid,
               Array<float, 2> out) {
    const ListCoder& coder = lists.coder();
    const std::byte* q = rows(lists, queries, out.shape(0), "queries");
    const std::byte* x = rows(lists, vectors, out.shape(1), "vectors");
    require(centroid.size() == coder.lead(), "centroid: must be [lead]");
    const nb::gil_scoped_release released;
    Lists one(coder.training(), taken(centroid));
    const auto memory = TierMemory::anonymous(std::max<std::size_t>(1, out.shape(1) * lists.row_bytes()));
    const auto tier = make_memory_tier("estimates", memory);
    std::vector<std::uint32_t> slots(out.shape(1)), into(out.shape(1), 0);
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::uint32_t>(i);
    one.add(*tier, slots.data(), x, slots.size(), into.data());
    ListSearch options;
    options.k = options.candidates = options.reads = static_cast<std::uint32_t>(slots.size());
    options.probes = 1;
    options.exact = false;
    std::vector<std::int64_t> which(out.size()), bytes(out.shape(0));
    std::vector<float> distances(out.size());
    std::vector<std::int32_t> counts(3 * out.shape(0));
    Tier* const tiers[1] = {tier.get()};
    one.search(tiers, q, out.shape(0), options,
               {which.data(), distances.data(), counts.data(), counts.data() + out.shape(0), bytes.data(),
                counts.data() + 2 * out.shape(0)});
    for (std::size_t i = 0; i < out.size(); ++i) {
        out.data()[i / out.shape(1) * out.shape(1) + static_cast<std::size_t>(which[i])] = distances[i];
    }
}

nb::dict saved(const Lists& lists) {
    Lists::Saved all = lists.saved();
    nb::dict arrays;
    arrays["centroids"] = given(std::move(all.centroids));
    arrays["dissolved"] = given(std::move(all.dissolved));
    arrays["blocks"] = given(std::move(all.blocks));
    arrays["codes"] = given(std::move(all.codes));
    arrays["slots"] = given(std::move(all.slots));
    arrays["tails"] = given(std::move(all.tails));
    arrays["scales"] = given(std::move(all.scales));
    arrays["first_row"] = given(std::move(all.first_row));
    arrays["copy_blocks"] = given(std::move(all.copy_blocks));
    arrays["copy_codes"] = given(std::move(all.copy_codes));
    arrays["copy_slots"] = given(std::move(all.copy_slots));
    return arrays;
}

template <class T>
std::vector<T> array_of(const nb::dict& arrays, const char* name) {
    // Indexes that were saved before there were copies have none.
    if (!arrays.contains(name) && std::string_view(name).starts_with("copy_")) return {};
    return taken(nb::cast<Array<const T, 1>>(arrays[name], false));
}

void adopt(Lists& lists, const nb::dict& arrays) {
    lists.adopt({{},
                 array_of<std::uint8_t>(arrays, "dissolved"),
                 array_of<std::uint32_t>(arrays, "blocks"),
                 array_of<std::uint8_t>(arrays, "codes"),
                 array_of<std::uint32_t>(arrays, "slots"),
                 array_of<std::uint8_t>(arrays, "tails"),
                 array_of<std::uint16_t>(arrays, "scales"),
                 array_of<std::uint32_t>(arrays, "first_row"),
                 array_of<std::uint32_t>(arrays, "copy_blocks"),
                 array_of<std::uint8_t>(arrays, "copy_codes"),
                 array_of<std::uint32_t>(arrays, "copy_slots")});
}

}  // namespace

void bind_lists(nb::module_& module) {
    // What chooses lists and candidates, to hold against a sorted copy.
    module.def("smallest_but", [](const Floats1& values, std::size_t k) {
        require(k < values.size(), "k: must be below the count of values");
        std::vector<float> some = taken(values), scratch(values.size());
        return list_kernels().smallest_but(some.data(), some.size(), k, scratch.data());
    });
    module.def("balanced_kmeans", [](const Array<const float, 2>& sample, std::size_t clusters, std::size_t rounds,
                                     float balance, std::uint64_t seed) {
        std::vector<float> centroids;
        {
            const nb::gil_scoped_release released;
            centroids = balanced_kmeans(sample.data(), sample.shape(0), sample.shape(1), clusters, rounds, balance, seed);
        }
        return given(std::move(centroids));
    });
    nb::exception<TierFull>(module, "TierFull", PyExc_ValueError);
    nb::class_<Lists>(module, "Lists")
        .def("__init__",
             [](Lists* self, int element, int metric, std::size_t dim, std::size_t bytes_dims, std::size_t nibble_dims,
                bool tail, const std::vector<Floats1>& arrays, const Floats1& centroids,
                const std::tuple<std::size_t, float, float, std::size_t>& closure) {
                 new (self) Lists(training_of(element, metric, dim, bytes_dims, nibble_dims, tail, arrays),
                                  taken(centroids), closure_of(closure));
             })
        .def("add", &add)
        .def("remove",
             [](Lists& self, const Slots& slots) {
                 const nb::gil_scoped_release released;
                 return self.remove(slots.data(), slots.size());
             })
        .def("has", &Lists::has)
        .def("vectors", &get)
        .def("assign", &assign)
        .def("closure", [](const Lists& self, const Bytes& vectors) { return closure(self, vectors); })
        .def("estimates", &estimates)
        .def("search", &search, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
        .def("maintain", &Lists::maintain, nb::call_guard<nb::gil_scoped_release>())
        .def("wanting", &Lists::wanting, nb::call_guard<nb::gil_scoped_release>())
        .def("sizes", [](const Lists& self) { return given(self.sizes()); })
        .def("saved", &saved)
        .def("adopt", &adopt)
        .def_prop_ro("lists", &Lists::lists)
        .def_prop_ro("live", &Lists::live)
        .def_prop_ro("copies", &Lists::copies)
        .def_prop_ro("rows", &Lists::rows)
        .def_prop_ro("free_rows", &Lists::free_rows)
        .def_prop_ro("row_bytes", &Lists::row_bytes)
        .def_prop_ro("dram_bytes", &Lists::dram_bytes);
    nb::class_<ListStream>(module, "ListStream")
        .def(
            "__init__",
            [](ListStream* self, const Lists& lists, const std::vector<Tier*>& tiers, std::size_t in_flight,
               std::size_t most_reads, std::size_t gap) {
                require_rows(lists, tiers);
                require(in_flight >= 1 && in_flight <= 4096, "in_flight: must be 1..4096");
                new (self) ListStream(lists, tiers, in_flight, most_reads, gap);
            },
            nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>())
        .def("search", &search_streamed, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
        .def("replay", &replay_streamed);
}

}  // namespace fairlead::python

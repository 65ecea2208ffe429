#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/vectors/tier_graph.hpp"
#include "fairlead/vectors/tier_graph_stream.hpp"
#include "vectors/bind_walk_encoder.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::vectors;
using Slots = Array<const std::uint32_t, 1>;
using Bytes = Array<const std::uint8_t, 2>;
using Allowed = std::optional<Array<const std::uint8_t, 1>>;
// slots, distances [queries, k]; reads, trips, hops [3, queries]; bytes [queries]
using Found = std::tuple<Array<std::int64_t, 2>, Array<float, 2>, Array<std::int32_t, 2>, Array<std::int64_t, 1>>;
// beam, rerank, width, in_flight, scan, exact
using Effort = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t, bool, bool>;

template <class T>
std::vector<T> copied(const Array<const T, 1>& array) {
    return {array.data(), array.data() + array.size()};
}

template <class T>
nb::object given(std::vector<T> values) {
    auto* kept = new std::vector<T>(std::move(values));
    const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    const std::size_t shape[1] = {kept->size()};
    return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), 1, shape, owner));
}

bool below(const std::uint32_t* values, std::size_t count, std::size_t limit) {
    return std::all_of(values, values + count, [limit](std::uint32_t value) { return value < limit; });
}

const std::byte* rows(const TierGraph& graph, const Bytes& vectors, std::size_t count, const char* name) {
    require(vectors.shape(0) == count && vectors.shape(1) == graph.layout().vector_bytes,
            std::string(name) + ": must be uint8 [n, " + std::to_string(graph.layout().vector_bytes) + "], as many as slots");
    return reinterpret_cast<const std::byte*>(vectors.data());
}

TierGraphSearch options_of(std::size_t k, const Effort& effort, const Allowed& allowed) {
    const auto& [beam, rerank, width, in_flight, scan, exact] = effort;
    require(k >= 1 && k <= (1U << 20), "k: must be 1..1048576");
    require(beam >= 1 && beam <= (1U << 24), "beam: must be 1..16777216");
    require(width >= 1 && width <= 64, "width: must be 1..64");
    require(in_flight >= 1 && in_flight <= 4096, "in_flight: must be 1..4096");
    require(exact || scan, "exact: only a scan answers by codes alone");
    TierGraphSearch options;
    options.k = static_cast<std::uint32_t>(k);
    options.beam = static_cast<std::uint32_t>(std::max(beam, k));
    options.rerank = static_cast<std::uint32_t>(std::clamp<std::size_t>(rerank, k, 1U << 24));
    options.width = static_cast<std::uint32_t>(width);
    options.in_flight = static_cast<std::uint32_t>(in_flight);
    options.scan = scan;
    options.exact = exact;
    options.all = !allowed;
    if (allowed) options.allowed = {allowed->data(), allowed->size()};
    return options;
}

TierGraphFound found_of(const Found& found, std::size_t count, std::size_t k) {
    const auto& [slots, distances, counts, bytes] = found;
    require(slots.shape(0) == count && slots.shape(1) == k && distances.shape(0) == count && distances.shape(1) == k &&
                counts.shape(0) == 3 && counts.shape(1) == count && bytes.size() == count,
            "found: must be [queries, k], [3, queries] and [queries]");
    std::int32_t* counters = counts.data();
    return {slots.data(), distances.data(), counters, counters + count, counters + 2 * count, bytes.data()};
}

// A region that has shrunk has lost what was written there.
void check_size(const TierGraph& graph, const std::vector<Tier*>& tiers) {
    for (const Tier* tier : tiers) {
        if (tier->size() >= graph.tier_bytes()) continue;
        throw TierLost(tier->url(), "has " + std::to_string(tier->size()) + " bytes of the " +
                                        std::to_string(graph.tier_bytes()) + " that records were written to");
    }
}

void search(const TierGraph& graph, const std::vector<Tier*>& tiers, const Bytes& queries, std::size_t k,
            const Effort& effort, const Allowed& allowed, const Found& found) {
    const std::size_t count = queries.shape(0);
    const std::byte* from = rows(graph, queries, count, "queries");
    require(!tiers.empty(), "tiers: must be at least one");
    const TierGraphSearch options = options_of(k, effort, allowed);
    if (options.exact) check_size(graph, tiers);
    const TierGraphFound into = found_of(found, count, k);
    const nb::gil_scoped_release released;
    graph.search(tiers, from, count, options, into);
}

void search_streamed(const TierGraph& graph, TierGraphStream& stream, const Bytes& queries, std::size_t k,
                     const Effort& effort, const Allowed& allowed, const Found& found) {
    const std::size_t count = queries.shape(0);
    const std::byte* from = rows(graph, queries, count, "queries");
    const TierGraphSearch options = options_of(k, effort, allowed);
    const TierGraphFound into = found_of(found, count, k);
    const nb::gil_scoped_release released;
    stream.search(from, count, options, into);
}

void replay(const TierGraph& graph, TierGraphStream& stream, const Bytes& queries, std::size_t k, const Effort& effort,
            const Array<const double, 1>& due, const Found& found, Array<double, 1> waited) {
    const std::byte* from = rows(graph, queries, queries.shape(0), "queries");
    require(queries.shape(0) > 0 && waited.size() == due.size(), "queries, waited: must be 1 and above, and as many as due");
    const TierGraphSearch options = options_of(k, effort, std::nullopt);
    const TierGraphFound into = found_of(found, due.size(), k);
    const nb::gil_scoped_release released;
    stream.replay(from, queries.shape(0), {due.data(), due.size()}, waited.data(), options, into);
}

void fill(TierGraph& graph, Tier& tier, std::uint32_t first, const Array<const std::uint32_t, 2>& edges,
          const Bytes& vectors) {
    const TierGraphLayout& layout = graph.layout();
    const std::byte* from = rows(graph, vectors, edges.shape(0), "vectors");
    require(first % layout.group == 0, "first: must begin a group");
    require(edges.shape(1) == layout.degree, "edges: must be [vertices, degree]");
    require(first + edges.shape(0) <= graph.vertices(), "first: are more than the vertices that there are");
    require(below(edges.data(), edges.size(), graph.vertices()), "edges: lead nowhere");
    const nb::gil_scoped_release released;
    graph.fill(tier, first, edges.shape(0), edges.data(), from);
}

nb::dict saved(const TierGraph& graph) {
    TierGraph::State state = graph.save();
    nb::dict arrays;
    arrays["slots"] = given(std::move(state.slots));
    arrays["codes"] = given(std::move(state.codes));
    arrays["removed"] = given(std::move(state.removed));
    arrays["entries"] = given(std::move(state.entries));
    arrays["cached"] = given(std::move(state.cached));
    return arrays;
}

}  // namespace

void bind_tier_graph(nb::module_& module) {
    module.def("pack_ids", [](const Array<const std::uint32_t, 1>& ids, std::uint32_t bits, Array<std::uint8_t, 1> out) {
        require(bits >= 1 && bits <= 31 && out.size() >= (ids.size() * bits + 31) / 32 * 4, "bits: 1..31; out: too small");
        pack_ids(ids.data(), ids.size(), bits, reinterpret_cast<std::byte*>(out.data()));
    });
    nb::class_<TierGraph>(module, "TierGraph")
        .def("__init__",
             [](TierGraph* self, int element, int metric, std::uint32_t dim, const Array<const float, 2>& rotation,
                const Array<const float, 1>& center, std::size_t lines, float step, float longest, std::uint32_t degree,
                std::uint32_t beam, float alpha, std::uint64_t seed, std::uint32_t id_bits, std::uint32_t group) {
                 WalkEncoder encoder =
                     walk_encoder(element, metric, dim, rotation, center, lines, 8, step, 1.0F, longest, 0, 8);
                 require(degree >= 1 && degree <= 256 && beam >= 1, "degree: must be 1..256; beam: at least 1");
                 require(id_bits >= 1 && id_bits <= 31 && group >= 1 && group <= 4096, "id_bits: must be 1..31; group: 1..4096");
                 const TierGraphLayout layout{degree, id_bits, group, encoder.space.bytes()};
                 TierGraphSettings settings;
                 settings.beam = beam;
                 settings.alpha = alpha;
                 settings.seed = seed;
                 new (self) TierGraph(std::move(encoder), settings, layout);
             })
        .def("restore",
             [](TierGraph& self, const Slots& slots, const Array<const std::uint8_t, 1>& codes, const Slots& removed,
                const Slots& entries) {
                 self.restore({copied(slots), copied(codes), copied(removed), copied(entries), {}});
             })
        .def("fill", &fill)
        .def("keep",
             [](TierGraph& self, Tier& tier, const Slots& vertices) {
                 require(below(vertices.data(), vertices.size(), self.vertices()), "vertices: there are none such");
                 const nb::gil_scoped_release released;
                 self.keep(tier, {vertices.data(), vertices.size()});
             })
        .def("search", &search, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
        .def("search_streamed", &search_streamed, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
        .def("replay", &replay)
        .def("insert",
             [](TierGraph& self, Tier& tier, const Slots& slots, const Bytes& vectors) {
                 const std::byte* from = rows(self, vectors, slots.size(), "vectors");
                 const nb::gil_scoped_release released;
                 self.insert(tier, {slots.data(), slots.size()}, from);
             })
        .def("remove",
             [](TierGraph& self, const Slots& slots) {
                 const nb::gil_scoped_release released;
                 return self.remove({slots.data(), slots.size()});
             })
        .def("consolidate", &TierGraph::consolidate, nb::call_guard<nb::gil_scoped_release>())
        .def("vectors",
             [](const TierGraph& self, Tier& tier, const Slots& slots, Array<std::uint8_t, 2> out) {
                 require(out.shape(0) == slots.size() && out.shape(1) == self.layout().vector_bytes,
                         "out: must be [slots, bytes of a vector]");
                 const nb::gil_scoped_release released;
                 self.vectors(tier, {slots.data(), slots.size()}, reinterpret_cast<std::byte*>(out.data()));
             })
        .def("neighbours", &TierGraph::neighbours)
        .def("walked",
             [](const TierGraph& self, const Bytes& queries, Array<std::int8_t, 2> out) {
                 const std::byte* from = rows(self, queries, queries.shape(0), "queries");
                 require(out.shape(0) == queries.shape(0) && out.shape(1) == self.encoder().code_bytes(),
                         "out: must be [queries, bytes of a code]");
                 self.walked(from, queries.shape(0), out.data());
             })
        .def("saved", &saved)
        .def("has", [](const TierGraph& self, std::uint32_t slot) { return self.vertex_of(slot) != TierGraph::kNone; })
        .def_prop_ro("vertices", &TierGraph::vertices)
        .def_prop_ro("live", &TierGraph::live)
        .def_prop_ro("removed", &TierGraph::removed)
        .def_prop_ro("dram_bytes", &TierGraph::dram_bytes)
        .def_prop_ro("tier_bytes", &TierGraph::tier_bytes)
        .def_prop_ro("record_bytes", [](const TierGraph& self) { return self.layout().record_bytes(); });
    nb::class_<TierGraphStream>(module, "TierGraphStream")
        .def(
            "__init__",
            [](TierGraphStream* self, const TierGraph& graph, const std::vector<Tier*>& tiers, std::size_t in_flight,
               std::size_t width) {
                require(!tiers.empty() && in_flight >= 1 && in_flight <= 4096 && width >= 1 && width <= 64,
                        "tiers: at least one; in_flight: 1..4096; width: 1..64");
                check_size(graph, tiers);
                new (self) TierGraphStream(graph, tiers, in_flight, width);
            },
            nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>());
}

}  // namespace fairlead::python

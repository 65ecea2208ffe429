#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/graph.hpp"
#include "fairlead/vectors/graph_stream.hpp"
#include "vectors/bind_walk_encoder.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::vectors;
using Slots = Array<const std::uint32_t, 1>;
using Vectors = Array<const std::uint8_t, 2>;

// Arguments are checked by vector_graph.py; here only what memory depends on.
class BoundGraph {
public:
    BoundGraph(int element, int metric, std::uint32_t dim, const Array<const float, 2>& rotation,
               const Array<const float, 1>& center, std::size_t lines, std::uint32_t bits, float step, float tail_step,
               float longest, std::uint32_t degree, std::uint32_t beam, float alpha, std::uint64_t seed, bool exact,
               std::uint32_t extra, std::uint32_t tail_bits) {
        WalkEncoder encoder = walk_encoder(element, metric, dim, rotation, center, lines, bits, step, tail_step, longest,
                                           extra, tail_bits);
        require(degree > 0 && degree % 16 == 0 && beam > 0, "degree: must be a multiple of 16; beam: at least 1");
        GraphSettings settings;
        settings.degree = degree;
        settings.beam = beam;
        settings.alpha = alpha;
        settings.seed = seed;
        graph_ = std::make_unique<Graph>(std::move(encoder), settings, exact);
    }

    void reserve(std::size_t vertices) { graph_->reserve(vertices); }

    void append(const Slots& slots, const Vectors& vectors) {
        check(slots, vectors);
        const nb::gil_scoped_release free;
        graph_->append({slots.data(), slots.shape(0)}, bytes_of(vectors));
    }

    void insert(const Slots& slots, const Vectors& vectors, std::size_t threads) {
        check(slots, vectors);
        const nb::gil_scoped_release free;
        graph_->insert({slots.data(), slots.shape(0)}, bytes_of(vectors), threads);
    }

    std::size_t remove(const Slots& slots) {
        const nb::gil_scoped_release free;
        return graph_->remove({slots.data(), slots.shape(0)});
    }

    bool consolidate(std::size_t threads, std::size_t most) {
        const nb::gil_scoped_release free;
        return graph_->consolidate(threads, most);
    }

    void build(std::size_t threads, const nb::object& told) {
        bool failed = false;
        std::optional<nb::python_error> error;
        const GraphProgress progress = [&](std::size_t done, std::size_t total) {
            const nb::gil_scoped_acquire held;
            try {
                if (!told.is_none()) told(done, total);
            } catch (nb::python_error& raised) {
                error.emplace(std::move(raised));
                failed = true;
            }
            return !failed;
        };
        {
            const nb::gil_scoped_release free;
            graph_->build(threads, progress);
        }
        if (failed) {
            error->restore();
            throw nb::python_error();
        }
    }

    using Allowed = std::optional<Array<const std::uint8_t, 1>>;

    void search(const Vectors& vectors, std::size_t beam, std::size_t rerank, std::size_t in_flight,
                std::size_t threads, const Allowed& allowed, bool scan, const Array<std::int64_t, 2>& slots,
                const Array<float, 2>& distances, const Array<std::uint32_t, 2>& counters) const {
        require(in_flight > 0, "in_flight: must be at least 1");
        GraphQueries queries = queries_of(vectors, beam, rerank, allowed, slots.shape(1));
        queries.in_flight = in_flight;
        queries.threads = threads;
        queries.scan = scan;
        const GraphAnswers answers = answers_of(queries, slots, distances, counters);
        const nb::gil_scoped_release free;
        graph_->search(queries, answers);
    }

    void search_streamed(GraphStream& stream, const Vectors& vectors, std::size_t beam, std::size_t rerank,
                         const Allowed& allowed, const Array<std::int64_t, 2>& slots, const Array<float, 2>& distances,
                         const Array<std::uint32_t, 2>& counters) const {
        const GraphQueries queries = queries_of(vectors, beam, rerank, allowed, slots.shape(1));
        const GraphAnswers answers = answers_of(queries, slots, distances, counters);
        const nb::gil_scoped_release free;
        stream.search(queries, answers);
    }

    const Graph& graph() const { return *graph_; }

    // Queries as walks take them.
    void walked(const Vectors& queries, const Array<std::int8_t, 2>& out) const {
        const WalkEncoder& encoder = graph_->encoder();
        require(queries.shape(1) == encoder.space.bytes(), "queries: have another length");
        require(out.shape(0) == queries.shape(0) && out.shape(1) == encoder.query_bytes(),
                "out: must be [queries, bytes of a query]");
        encoder.encode_queries(bytes_of(queries), queries.shape(0), out.data(), nullptr);
    }

    // Rows [count, bytes] of slots; IndexError for one that is not there.
    void vectors(const Slots& slots, const Array<std::uint8_t, 2>& out) const {
        require(out.shape(0) == slots.shape(0) && out.shape(1) == graph_->encoder().space.bytes() && graph_->exact(),
                "out: must be [slots, bytes of a vector], of a graph that keeps vectors");
        for (std::size_t i = 0; i < slots.shape(0); ++i) {
            const std::uint32_t vertex = graph_->vertex_of(slots.data()[i]);
            if (vertex == Graph::kNone) throw nb::index_error("slots: a slot is not in the graph");
            std::memcpy(out.data() + i * out.shape(1), graph_->row(vertex), out.shape(1));
        }
    }

    // Neighbours of a slot as slots; those removed are 2^32 - 1.
    std::vector<std::uint32_t> neighbours(std::uint32_t slot) const {
        const std::uint32_t vertex = graph_->vertex_of(slot);
        if (vertex == Graph::kNone) throw nb::index_error("slot: is not in the graph");
        std::vector<std::uint32_t> out;
        for (std::uint32_t i = 0; i < graph_->settings().degree; ++i) {
            const std::uint32_t other = graph_->neighbours(vertex)[i];
            if (other != vertex) out.push_back(graph_->slot_of(other));
        }
        return out;
    }

    std::vector<std::uint32_t> entries() const {
        std::vector<std::uint32_t> out;
        for (const std::uint32_t vertex : graph_->entries()) out.push_back(graph_->slot_of(vertex));
        return out;
    }

    nb::tuple save() const {
        const GraphState state = graph_->save();
        return nb::make_tuple(array(state.slots), array(state.edges), array(state.codes), array(state.rows),
                              array(state.more), array(state.removed), array(state.entries));
    }

    template <class T>
    using Flat = Array<const T, 1>;

    void restore(const Flat<std::uint32_t>& slots, const Flat<std::uint32_t>& edges, const Flat<std::uint8_t>& codes,
                 const Flat<std::uint8_t>& rows, const Flat<float>& more, const Flat<std::uint32_t>& removed,
                 const Flat<std::uint32_t>& entries) {
        graph_->restore({copy(slots), copy(edges), copy(codes), copy(rows), copy(more), copy(removed), copy(entries)});
    }

    std::size_t live() const { return graph_->live(); }
    std::size_t removed() const { return graph_->removed(); }
    std::size_t bytes() const { return graph_->bytes(); }
    std::size_t vertex_bytes() const { return graph_->vertex_bytes(); }

private:
    template <class T>
    static std::vector<T> copy(const Flat<T>& values) {
        return {values.data(), values.data() + values.shape(0)};
    }
    template <class T>
    static nb::object array(const std::vector<T>& values) {
        auto* kept = new std::vector<T>(values);
        const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
        return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(kept->data(), {kept->size()}, owner));
    }
    GraphQueries queries_of(const Vectors& vectors, std::size_t beam, std::size_t rerank, const Allowed& allowed,
                            std::size_t k) const {
        require(vectors.shape(1) == graph_->encoder().space.bytes(), "queries: have another length");
        require(beam > 0, "beam: must be at least 1");
        GraphQueries queries;
        queries.vectors = bytes_of(vectors);
        queries.count = vectors.shape(0);
        queries.k = k;
        queries.beam = beam;
        queries.rerank = rerank;
        if (allowed) {
            queries.allowed = allowed->data();
            queries.allowed_bytes = allowed->shape(0);
        }
        return queries;
    }
    static GraphAnswers answers_of(const GraphQueries& queries, const Array<std::int64_t, 2>& slots,
                                   const Array<float, 2>& distances, const Array<std::uint32_t, 2>& counters) {
        const std::size_t count = queries.count;
        require(slots.shape(0) == count && distances.shape(0) == count && distances.shape(1) == slots.shape(1) &&
                    counters.shape(0) == 2 && counters.shape(1) == count,
                "answers: must be [queries, k] and counters [2, queries]");
        return {slots.data(), distances.data(), counters.data(), counters.data() + count};
    }
    static const std::byte* bytes_of(const Vectors& vectors) {
        return reinterpret_cast<const std::byte*>(vectors.data());
    }
    void check(const Slots& slots, const Vectors& vectors) const {
        require(vectors.shape(0) == slots.shape(0) && vectors.shape(1) == graph_->encoder().space.bytes(),
                "vectors: must be [slots, bytes of a vector]");
    }

    std::unique_ptr<Graph> graph_;
};

// Scores of codes [count, bytes], as walks compute them.
void walk_scores(const Vectors& codes, std::uint32_t bits, const Array<const std::int8_t, 1>& walked, std::int32_t below,
                 const Array<std::int32_t, 1>& out, const Array<bool, 1>& near) {
    const std::size_t bytes = codes.shape(1), count = codes.shape(0), lines = bytes / kLine;
    require(bits == 4 || bits == 8, "bits: must be 4 or 8");
    require(lines > 0 && bytes % kLine == 0 && walked.shape(0) == bytes * 8 / bits, "walked: fits no such codes");
    require(out.shape(0) == count && near.shape(0) == count, "out, near: must be [codes]");
    const KernelTable& kernels = kernels_in_use();
    for (std::size_t first = 0; first < count; first += 64) {
        const std::size_t some = std::min<std::size_t>(64, count - first);
        const std::uint64_t found = (bits == 4 ? kernels.score_nibbles : kernels.score_lines)(
            codes.data() + first * bytes, lines, nullptr, some, walked.data(), below, out.data() + first);
        for (std::size_t i = 0; i < some; ++i) near.data()[first + i] = (found >> i & 1) != 0;
    }
}

// Squared distances of codes [count, bytes] from one of them.
void walk_distances(const Vectors& codes, std::uint32_t bits, std::uint32_t from, const Array<float, 1>& out) {
    const std::size_t bytes = codes.shape(1), count = codes.shape(0);
    require((bits == 4 || bits == 8) && bytes > sizeof(std::int32_t), "bits: must be 4 or 8");
    require(from < count && out.shape(0) == count, "from: must be one of them; out: must be [codes]");
    std::vector<std::uint32_t> ids(count);
    std::iota(ids.begin(), ids.end(), 0U);
    const KernelTable& kernels = kernels_in_use();
    (bits == 4 ? kernels.nibble_distances : kernels.byte_distances)(
        codes.data() + from * bytes, codes.data(), bytes, bytes - sizeof(std::int32_t), ids.data(), count, out.data());
}

}  // namespace

void bind_graph(nb::module_& module) {
    module.def("walk_scores", &walk_scores);
    module.def("walk_distances", &walk_distances);
    nb::class_<BoundGraph>(module, "VectorGraph")
        .def(nb::init<int, int, std::uint32_t, const Array<const float, 2>&, const Array<const float, 1>&, std::size_t,
                      std::uint32_t, float, float, float, std::uint32_t, std::uint32_t, float, std::uint64_t, bool,
                      std::uint32_t, std::uint32_t>())
        .def("reserve", &BoundGraph::reserve)
        .def("append", &BoundGraph::append)
        .def("insert", &BoundGraph::insert)
        .def("remove", &BoundGraph::remove)
        .def("consolidate", &BoundGraph::consolidate)
        .def("build", &BoundGraph::build, nb::arg("threads"), nb::arg("told").none())
        .def("search", &BoundGraph::search, nb::arg("vectors"), nb::arg("beam"), nb::arg("rerank"),
             nb::arg("in_flight"), nb::arg("threads"), nb::arg("allowed").none(), nb::arg("scan"), nb::arg("slots"),
             nb::arg("distances"), nb::arg("counters"))
        .def("search_streamed", &BoundGraph::search_streamed, nb::arg("stream"), nb::arg("vectors"), nb::arg("beam"),
             nb::arg("rerank"), nb::arg("allowed").none(), nb::arg("slots"), nb::arg("distances"), nb::arg("counters"))
        .def("walked", &BoundGraph::walked)
        .def("vectors", &BoundGraph::vectors)
        .def("neighbours", &BoundGraph::neighbours)
        .def("entries", &BoundGraph::entries)
        .def("save", &BoundGraph::save)
        .def("restore", &BoundGraph::restore)
        .def_prop_ro("live", &BoundGraph::live)
        .def_prop_ro("removed", &BoundGraph::removed)
        .def_prop_ro("bytes", &BoundGraph::bytes)
        .def_prop_ro("vertex_bytes", &BoundGraph::vertex_bytes);
    nb::class_<GraphStream>(module, "GraphStream")
        .def(
            "__init__",
            [](GraphStream* self, const BoundGraph& graph, std::size_t threads, std::size_t width) {
                require(threads >= 1 && threads <= 256 && width >= 1 && width <= 64, "threads: 1..256; width: 1..64");
                new (self) GraphStream(graph.graph(), threads, width);
            },
            nb::keep_alive<1, 2>());
}

}  // namespace fairlead::python

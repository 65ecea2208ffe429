#include "vectors/graph_builder.hpp"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <shared_mutex>

#include "fairlead/dispatch.hpp"
#include "vectors/workers.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kVerticesPerChunk = 16;
constexpr std::size_t kMostCandidates = 128;
// Neighbours of a removed vertex that others may have in its place: rows begin with the nearest.
constexpr std::size_t kBridged = 12;
// Rows that are computed before they are written, all in one go: about as long do searches wait.
constexpr std::size_t kRowsAtOnce = 1024;

}  // namespace

GraphBuilder::GraphBuilder(Graph& graph, std::size_t threads, FairMutex* searched)
    : graph_(graph), searched_(searched), threads_(std::max<std::size_t>(1, threads)) {
    const GraphRows& rows = searched == nullptr ? *graph.rows_ : *graph.leading_;
    for (std::size_t t = 0; t < threads_; ++t) {
        workers_.push_back(std::make_unique<Worker>(graph, rows, kMostCandidates));
        workers_.back()->walk.keep_trail(&workers_.back()->candidates);
    }
}

std::uint32_t* GraphBuilder::row(std::uint32_t vertex) {
    return graph_.edges_.as<std::uint32_t>() + static_cast<std::size_t>(vertex) * graph_.width_;
}

void GraphBuilder::write_row(std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours) {
    std::uint32_t* to = row(vertex);
    const std::size_t count = std::min<std::size_t>(neighbours.size(), graph_.width_);
    std::copy_n(neighbours.begin(), count, to);
    std::fill(to + count, to + graph_.width_, vertex);
}

void GraphBuilder::find_candidates(std::uint32_t vertex, Worker& worker) {
    graph_.encoder_.query_of_code(graph_.codes_.as<std::uint8_t>() + vertex * graph_.encoder_.code_bytes(),
                                  worker.query.data());
    worker.candidates.clear();
    worker.walk.start(worker.query.data(), graph_.settings_.beam, 0, {}, kernels_in_use());
    while (worker.walk.turn()) {
    }
    // No edge may lead to a removed vertex but those that are there: consolidation has looked at some rows already.
    std::erase_if(worker.candidates, [this](std::uint32_t other) { return is_gone(other); });
}

void GraphBuilder::link(std::span<const std::uint32_t> vertices) {
    const std::size_t chunks = (vertices.size() + kVerticesPerChunk - 1) / kVerticesPerChunk;
    const bool empty = graph_.entries_.empty();
    for_chunks(threads_, chunks, [&](std::size_t w, std::size_t chunk) {
        Worker& worker = *workers_[w];
        const std::size_t end = std::min(vertices.size(), (chunk + 1) * kVerticesPerChunk);
        for (std::size_t i = chunk * kVerticesPerChunk; i < end; ++i) {
            if (empty) {
                worker.candidates.assign(vertices.begin(), vertices.end());
            } else {
                find_candidates(vertices[i], worker);
            }
            write_row(vertices[i], worker.pruner.prune(vertices[i], worker.candidates));
        }
    });
    add_back_edges(vertices);
    if (!empty) enter_by(vertices);
}

void GraphBuilder::enter_by(std::span<const std::uint32_t> vertices) {
    std::vector<std::uint32_t> entries = graph_.entries_;
    for (const std::uint32_t vertex : vertices) {
        if (row(vertex)[0] == vertex) entries.push_back(vertex);
    }
    if (entries.size() == graph_.entries_.size()) return;
    std::unique_lock<std::shared_mutex> lock;
    if (searched_ != nullptr) lock = searched_->exclusive();
    graph_.set_entries(std::move(entries));
}

void GraphBuilder::bridge(std::size_t first, std::size_t end) {
    while (first < end) {
        const std::size_t some = std::min(end - first, kRowsAtOnce);
        Changes changes(some, graph_.width_);
        for_chunks(threads_, (some + kVerticesPerChunk - 1) / kVerticesPerChunk, [&](std::size_t w, std::size_t chunk) {
            const std::size_t last = std::min(some, (chunk + 1) * kVerticesPerChunk);
            for (std::size_t i = chunk * kVerticesPerChunk; i < last; ++i) {
                bridge(static_cast<std::uint32_t>(first + i), *workers_[w], changes, i);
            }
        });
        write(changes);
        first += some;
    }
}

void GraphBuilder::bridge(std::uint32_t vertex, Worker& worker, Changes& changes, std::size_t at) {
    const std::uint32_t* own = row(vertex);
    const std::uint32_t* const end = own + graph_.width_;
    const auto gone = [this](std::uint32_t other) { return is_gone(other); };
    if (is_gone(vertex) || std::none_of(own, end, gone)) return;
    worker.candidates.assign(own, end);
    for (const std::uint32_t* other = own; other != end; ++other) {
        if (is_gone(*other)) worker.candidates.insert(worker.candidates.end(), row(*other), row(*other) + kBridged);
    }
    std::erase_if(worker.candidates, gone);
    changes.set(at, vertex, worker.pruner.prune(vertex, worker.candidates));
}

void GraphBuilder::write(const Changes& changes) {
    std::unique_lock<std::shared_mutex> lock;
    if (searched_ != nullptr) lock = searched_->exclusive();
    for (std::size_t i = 0; i < changes.vertices.size(); ++i) {
        if (changes.vertices[i] == Graph::kNone) continue;
        std::copy_n(changes.rows.data() + i * graph_.width_, graph_.width_, row(changes.vertices[i]));
    }
}

void GraphBuilder::add_back_edges(std::span<const std::uint32_t> vertices) {
    std::vector<Edge> edges;
    for (const std::uint32_t vertex : vertices) {
        const std::uint32_t* to = row(vertex);
        for (std::uint32_t i = 0; i < graph_.width_; ++i) {
            if (to[i] != vertex) edges.push_back({to[i], vertex});
        }
    }
    std::sort(edges.begin(), edges.end());
    std::vector<std::size_t> starts;  // of the edges of each target
    for (std::size_t i = 0; i < edges.size(); ++i) {
        if (i == 0 || edges[i].to != edges[i - 1].to) starts.push_back(i);
    }
    starts.push_back(edges.size());
    const std::size_t targets = starts.size() - 1;
    for (std::size_t first = 0; first < targets; first += kRowsAtOnce) {
        const std::size_t some = std::min(targets - first, kRowsAtOnce);
        Changes changes(some, graph_.width_);
        for_chunks(threads_, (some + kVerticesPerChunk - 1) / kVerticesPerChunk, [&](std::size_t w, std::size_t chunk) {
            const std::size_t end = std::min(some, (chunk + 1) * kVerticesPerChunk);
            for (std::size_t i = chunk * kVerticesPerChunk; i < end; ++i) {
                const std::size_t target = first + i;
                receive({edges.data() + starts[target], edges.data() + starts[target + 1]}, *workers_[w], changes, i);
            }
        });
        write(changes);
    }
}

void GraphBuilder::receive(std::span<const Edge> edges, Worker& worker, Changes& changes, std::size_t at) {
    const std::uint32_t vertex = edges.front().to, width = graph_.width_;
    std::vector<std::uint32_t>& own = worker.own;
    own.assign(row(vertex), std::find(row(vertex), row(vertex) + width, vertex));
    worker.candidates.clear();
    for (const Edge& edge : edges) {
        if (std::find(own.begin(), own.end(), edge.from) != own.end()) continue;
        if (own.size() < width) {
            own.push_back(edge.from);
        } else if (searched_ == nullptr || !worker.pruner.needless(vertex, own, edge.from)) {
            worker.candidates.push_back(edge.from);
        }
    }
    if (worker.candidates.empty()) return changes.set(at, vertex, own);
    worker.candidates.insert(worker.candidates.end(), own.begin(), own.end());
    changes.set(at, vertex, worker.pruner.prune(vertex, worker.candidates));
}

void GraphBuilder::narrow(std::uint32_t width) {
    const std::size_t count = graph_.vertices();
    const std::size_t chunks = (count + kVerticesPerChunk - 1) / kVerticesPerChunk;
    for_chunks(threads_, chunks, [&](std::size_t w, std::size_t chunk) {
        Worker& worker = *workers_[w];
        const std::size_t end = std::min(count, (chunk + 1) * kVerticesPerChunk);
        for (std::size_t v = chunk * kVerticesPerChunk; v < end; ++v) {
            const auto vertex = static_cast<std::uint32_t>(v);
            if (row(vertex)[width] == vertex) continue;
            worker.candidates.assign(row(vertex), row(vertex) + graph_.width_);
            write_row(vertex, worker.pruner.prune(vertex, worker.candidates));
        }
    });
    HugeBuffer narrow(count * width * sizeof(std::uint32_t));
    for (std::size_t v = 0; v < count; ++v) {
        std::copy_n(row(static_cast<std::uint32_t>(v)), width, narrow.as<std::uint32_t>() + v * width);
    }
    graph_.edges_ = std::move(narrow);
    graph_.width_ = width;
}

}  // namespace fairlead::vectors

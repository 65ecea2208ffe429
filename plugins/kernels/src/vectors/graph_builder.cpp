#include "vectors/graph_builder.hpp"

#include <algorithm>
#include <numeric>

#include "fairlead/dispatch.hpp"
#include "vectors/workers.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kVerticesPerChunk = 16;
constexpr std::size_t kMostCandidates = 128;

}  // namespace

GraphBuilder::GraphBuilder(Graph& graph, std::size_t threads)
    : graph_(graph), threads_(std::max<std::size_t>(1, threads)) {
    for (std::size_t t = 0; t < threads_; ++t) {
        workers_.push_back(std::make_unique<Worker>(graph, kMostCandidates));
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
}

void GraphBuilder::bridge(const std::vector<std::uint8_t>& gone) {
    const std::size_t count = graph_.vertices(), width = graph_.width_;
    const std::size_t chunks = (count + kVerticesPerChunk - 1) / kVerticesPerChunk;
    for_chunks(threads_, chunks, [&](std::size_t w, std::size_t chunk) {
        std::vector<std::uint32_t>& candidates = workers_[w]->candidates;
        const std::size_t end = std::min(count, (chunk + 1) * kVerticesPerChunk);
        for (std::size_t v = chunk * kVerticesPerChunk; v < end; ++v) {
            const auto vertex = static_cast<std::uint32_t>(v);
            const std::uint32_t* own = row(vertex);
            const auto is_gone = [&](std::uint32_t other) { return gone[other] != 0; };
            if (gone[v] != 0 || std::none_of(own, own + width, is_gone)) continue;
            candidates.assign(own, own + width);
            for (std::size_t i = 0; i < width; ++i) {
                if (is_gone(own[i])) candidates.insert(candidates.end(), row(own[i]), row(own[i]) + width);
            }
            std::erase_if(candidates, is_gone);
            write_row(vertex, workers_[w]->pruner.prune(vertex, candidates));
        }
    });
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
    for_chunks(threads_, (targets + kVerticesPerChunk - 1) / kVerticesPerChunk, [&](std::size_t w, std::size_t chunk) {
        const std::size_t end = std::min(targets, (chunk + 1) * kVerticesPerChunk);
        for (std::size_t t = chunk * kVerticesPerChunk; t < end; ++t) {
            receive({edges.data() + starts[t], edges.data() + starts[t + 1]}, *workers_[w]);
        }
    });
}

void GraphBuilder::receive(std::span<const Edge> edges, Worker& worker) {
    const std::uint32_t vertex = edges.front().to;
    std::uint32_t* to = row(vertex);
    std::uint32_t* const end = to + graph_.width_;
    std::uint32_t* free = std::find(to, end, vertex);
    worker.candidates.clear();
    for (const Edge& edge : edges) {
        if (std::find(to, free, edge.from) != free) continue;
        if (free != end) {
            *free++ = edge.from;
        } else {
            worker.candidates.push_back(edge.from);
        }
    }
    if (worker.candidates.empty()) return;
    worker.candidates.insert(worker.candidates.end(), to, end);
    write_row(vertex, worker.pruner.prune(vertex, worker.candidates));
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

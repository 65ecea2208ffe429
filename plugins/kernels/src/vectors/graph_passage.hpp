#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vectors/graph_walk.hpp"

namespace fairlead::vectors {

// A query of a graph and where its answer goes. What it points to stays until it is finished.
struct GraphAsk {
    const std::byte* query = nullptr;
    const GraphQueries* options = nullptr;
    const GraphAnswers* found = nullptr;
    std::size_t at = 0;  // row of `found`
    bool later = false;  // of many: gives way to those that came alone
    void* owner = nullptr;
};

// Queries as walks and rows are compared with.
class QueryCodes {
public:
    // vectors: [count] of the graph's space.
    QueryCodes(const Graph& graph, const std::byte* vectors, std::size_t count) : graph_(graph), vectors_(vectors) {
        const WalkEncoder& encoder = graph.encoder();
        walked_.resize(count * encoder.query_bytes());
        whole_.resize(graph.exact() ? 0 : count * encoder.query_floats());
        encoder.encode_queries(vectors, count, walked_.data(), whole_.empty() ? nullptr : whole_.data());
    }

    const std::int8_t* walked(std::size_t i) const { return walked_.data() + i * graph_.encoder().query_bytes(); }

    // What rows are compared with.
    const std::byte* exact(std::size_t i) const {
        if (whole_.empty()) return vectors_ + i * graph_.encoder().space.bytes();
        return reinterpret_cast<const std::byte*>(whole_.data() + i * graph_.encoder().query_floats());
    }

private:
    const Graph& graph_;
    const std::byte* vectors_;
    std::vector<float> whole_;
    std::vector<std::int8_t> walked_;
};

// A query on its way through a thread: its walk, then its candidates' rows asked for, then their distances.
class GraphPassage {
public:
    explicit GraphPassage(const Graph& graph) : graph_(graph), walk_(graph) {}

    // `scanned`: vertices that are scored in place of a walk; null: walk.
    void start(const GraphAsk& ask, const std::int8_t* walked, const std::byte* exact, const GraphFilter& filter,
               const std::vector<std::uint32_t>* scanned, const KernelTable& kernels);
    // One turn; false when the answer is written.
    bool turn();
    const GraphAsk& ask() const { return ask_; }

private:
    void ask_for_rows();
    void answer();

    const Graph& graph_;
    GraphWalk walk_;
    GraphAsk ask_;
    const std::byte* exact_ = nullptr;
    std::vector<std::uint32_t> candidates_, order_;
    std::vector<float> distances_;
    bool walking_ = false;
};

}  // namespace fairlead::vectors

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fairlead/vectors/graph.hpp"
#include "vectors/graph_prune.hpp"
#include "vectors/graph_walk.hpp"

namespace fairlead::vectors {

// Links vertices into a graph, batch by batch: candidates of all are searched in the graph as it is, then the edges
// back are put into each target's row in the order of their sources.
class GraphBuilder {
public:
    GraphBuilder(Graph& graph, std::size_t threads);

    // Links vertices of which none has edges yet. The first ones of an empty graph see each other.
    void link(std::span<const std::uint32_t> vertices);
    // Cuts rows to `width` places.
    void narrow(std::uint32_t width);
    // Replaces edges to vertices that are gone by edges to their neighbours (FreshDiskANN, algorithm 4).
    void bridge(const std::vector<std::uint8_t>& gone);

private:
    struct Edge {
        std::uint32_t to;
        std::uint32_t from;
        auto operator<=>(const Edge&) const = default;
    };
    struct Worker {
        Worker(const Graph& graph, std::size_t most)
            : walk(graph), pruner(*graph.rows_, graph.settings_.degree, graph.settings_.alpha, most),
              query(graph.encoder_.code_bytes()) {}
        GraphWalk walk;
        GraphPruner pruner;
        std::vector<std::int8_t> query;
        std::vector<std::uint32_t> candidates;
    };

    void find_candidates(std::uint32_t vertex, Worker& worker);
    void add_back_edges(std::span<const std::uint32_t> vertices);
    void receive(std::span<const Edge> edges, Worker& worker);
    void write_row(std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours);
    std::uint32_t* row(std::uint32_t vertex);

    Graph& graph_;
    std::size_t threads_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace fairlead::vectors

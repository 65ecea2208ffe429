#pragma once

#include <algorithm>
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
// back are put into each target's row in the order of their sources. Rows that searches may be reading are written some at
// a time, while those wait.
class GraphBuilder {
public:
    // `searched`: null where the graph is built and no search is under way. Edges are chosen by the vectors then, and
    // of a graph that changes by their codes: nearly as good, at half of the cost.
    GraphBuilder(Graph& graph, std::size_t threads, FairMutex* searched);

    // Links vertices of which none has edges yet. The first ones of an empty graph see each other.
    void link(std::span<const std::uint32_t> vertices);
    // Cuts rows to `width` places.
    void narrow(std::uint32_t width);
    // Replaces edges to removed vertices by edges to their neighbours (FreshDiskANN, algorithm 4) in the rows of the
    // vertices [first, end).
    void bridge(std::size_t first, std::size_t end);

private:
    struct Edge {
        std::uint32_t to;
        std::uint32_t from;
        auto operator<=>(const Edge&) const = default;
    };
    struct Worker {
        Worker(const Graph& graph, const GraphRows& rows, std::size_t most)
            : walk(graph), pruner(rows, graph.settings_.degree, graph.settings_.alpha, most),
              query(graph.encoder_.query_bytes()) {}
        GraphWalk walk;
        GraphPruner pruner;
        std::vector<std::int8_t> query;
        std::vector<std::uint32_t> candidates, own;
    };
    // New rows, each at a place of its own, so that threads can fill them.
    struct Changes {
        Changes(std::size_t count, std::uint32_t places)
            : width(places), vertices(count, Graph::kNone), rows(count * places) {}
        void set(std::size_t at, std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours) {
            vertices[at] = vertex;
            std::uint32_t* to = rows.data() + at * width;
            const std::size_t count = std::min<std::size_t>(neighbours.size(), width);
            std::copy_n(neighbours.begin(), count, to);
            std::fill(to + count, to + width, vertex);
        }
        std::uint32_t width;
        std::vector<std::uint32_t> vertices, rows;
    };

    void find_candidates(std::uint32_t vertex, Worker& worker);
    // Makes entries of vertices that found no neighbours, as where all others are removed.
    void enter_by(std::span<const std::uint32_t> vertices);
    void add_back_edges(std::span<const std::uint32_t> vertices);
    void receive(std::span<const Edge> edges, Worker& worker, Changes& changes, std::size_t at);
    void bridge(std::uint32_t vertex, Worker& worker, Changes& changes, std::size_t at);
    void write(const Changes& changes);
    bool is_gone(std::uint32_t vertex) const { return graph_.slot_of(vertex) == Graph::kNone; }
    void write_row(std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours);
    std::uint32_t* row(std::uint32_t vertex);

    Graph& graph_;
    FairMutex* searched_;
    std::size_t threads_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace fairlead::vectors

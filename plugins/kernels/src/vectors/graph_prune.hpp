#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fairlead/vectors/graph_rows.hpp"

namespace fairlead::vectors {

// Chooses a vertex's neighbours among candidates (RobustPrune of Vamana): the nearest first, each unless one chosen
// before is `alpha` times nearer to it than the vertex is. What stays free is filled with the nearest of the rest.
class GraphPruner {
public:
    GraphPruner(const GraphRows& rows, std::size_t degree, float alpha, std::size_t most)
        : rows_(rows), degree_(degree), alpha_(alpha), most_(most) {}

    // Candidates may hold the vertex itself and repeat; the result has at most `degree` vertices, nearest first.
    const std::vector<std::uint32_t>& prune(std::uint32_t vertex, const std::vector<std::uint32_t>& candidates);
    // Whether one of a row is nearer to the vertex and so near to the candidate that `prune` would not choose this.
    bool needless(std::uint32_t vertex, const std::vector<std::uint32_t>& row, std::uint32_t candidate);

private:
    struct Candidate {
        float distance;
        std::uint32_t id;
        float occlusion;  // the largest ratio of its distance to its distance from a chosen one
        bool chosen;
    };

    void sort_candidates(std::uint32_t vertex, const std::vector<std::uint32_t>& candidates);
    void choose(std::size_t at);
    void occlude_by(std::size_t at);

    const GraphRows& rows_;
    std::size_t degree_;
    float alpha_;
    std::size_t most_;
    std::vector<Candidate> sorted_;
    std::vector<std::uint32_t> ids_, rest_, chosen_;
    std::vector<std::size_t> places_;
    std::vector<float> distances_;
};

}  // namespace fairlead::vectors

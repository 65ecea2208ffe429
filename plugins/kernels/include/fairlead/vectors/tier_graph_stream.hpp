#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "fairlead/vectors/tier_graph.hpp"

namespace fairlead::vectors {

// Searches of a graph in a tier that join one another (Stream): one thread and one tier object each.
class TierGraphStream {
public:
    // The graph and the tiers stay until this is gone. `width`: of any query that will come, at most.
    TierGraphStream(const TierGraph& graph, std::span<Tier* const> tiers, std::size_t in_flight, std::size_t width);
    ~TierGraphStream();

    // Throws std::invalid_argument where the options are wider; TierError.
    void search(const std::byte* queries, std::size_t count, const TierGraphSearch& options, const TierGraphFound& found);
    // Queries that come at given seconds; see Stream::replay.
    void replay(const std::byte* queries, std::size_t rows, std::span<const double> due, double* waited,
                const TierGraphSearch& options, const TierGraphFound& found);

private:
    struct State;
    void check(const TierGraphSearch& options) const;

    std::unique_ptr<State> state_;
};

}  // namespace fairlead::vectors

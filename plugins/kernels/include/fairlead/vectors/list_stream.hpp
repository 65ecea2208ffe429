#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {

// Searches of a cluster index that join one another (Stream): one thread and one tier object each.
class ListStream {
public:
    // The index and the tiers stay until this is gone. `most_reads`: exact vectors of a query at most.
    ListStream(const Lists& lists, std::span<Tier* const> tiers, std::size_t in_flight, std::size_t most_reads,
               std::size_t gap);
    ~ListStream();

    // Throws std::invalid_argument where the options ask for more reads than a query may have here; TierError.
    void search(const std::byte* queries, std::size_t count, const ListSearch& options, const ListFound& found);
    // Queries that come at given seconds; see Stream::replay.
    void replay(const std::byte* queries, std::size_t rows, std::span<const double> due, double* waited,
                const ListSearch& options, const ListFound& found);

private:
    struct State;
    void check(const ListSearch& options) const;

    std::unique_ptr<State> state_;
};

}  // namespace fairlead::vectors

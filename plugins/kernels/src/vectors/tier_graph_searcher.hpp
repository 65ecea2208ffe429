#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "vectors/tier_graph_passage.hpp"

namespace fairlead::vectors {

// One thread's searches of a graph in a tier: those whose records have come compute in turn, the others wait for the
// tier meanwhile, and queries join at any time. While any is under way the graph does not change; where a change waits,
// none begins before it was let in.
class TierGraphSearcher {
public:
    using Ask = TierGraphAsk;

    TierGraphSearcher(const TierGraph& graph, Tier& tier, std::size_t in_flight, std::size_t width);
    ~TierGraphSearcher();

    std::size_t room(bool later) const;
    void admit(std::span<const TierGraphAsk> asks);
    // Whether queries wait to begin.
    bool scanning() const { return !ready_[0].empty() || !ready_[1].empty(); }
    bool idle() const { return !scanning() && under_way_ == 0; }
    // One piece of work; `wait`: for the tier where there is nothing else to do. Returns whether anything was done, and
    // adds what is finished to `finished`.
    bool step(bool wait, std::vector<TierGraphAsk>& finished);
    void abandon();

private:
    // Queries that were rounded together.
    struct Group {
        std::vector<std::byte> vectors;
        std::vector<std::int8_t> walked;
    };
    struct Ready {
        TierGraphAsk ask;
        std::shared_ptr<Group> group;
        std::size_t number = 0;  // in the group
        std::shared_ptr<const std::vector<std::uint32_t>> scanned;  // null: it walks
    };
    struct Open {
        std::unique_ptr<TierGraphPassage> passage;
        std::shared_ptr<Group> group;
    };

    void begin_next();
    bool collect(std::size_t most);

    const TierGraph& graph_;
    Tier& tier_;
    std::optional<std::shared_lock<std::shared_mutex>> lock_;
    std::deque<Ready> ready_[2];                      // that came alone; of many
    std::deque<Open> computing_, waiting_;            // for the processor; for the tier, the oldest first
    std::vector<std::unique_ptr<TierGraphPassage>> spare_;
    std::size_t under_way_ = 0;
    std::size_t turns_ = 0;
};

}  // namespace fairlead::vectors

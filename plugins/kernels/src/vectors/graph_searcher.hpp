#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "vectors/graph_passage.hpp"

namespace fairlead::vectors {

// One thread's searches of a graph, which join one another: a few walk by turns, so that what each waits for comes while
// the others compute, and those that come meanwhile follow. While queries are under way the graph does not change; where
// a change waits, none begins before it was let in.
class GraphSearcher {
public:
    using Ask = GraphAsk;

    GraphSearcher(const Graph& graph, std::size_t width) : graph_(graph), width_(width) {}

    std::size_t room(bool later) const;
    void admit(std::span<const GraphAsk> asks);
    bool idle() const { return open_.empty() && ready_[0].empty() && ready_[1].empty(); }
    bool step(bool wait, std::vector<GraphAsk>& finished);
    void abandon();

private:
    // Queries that were rounded together.
    struct Group {
        std::vector<std::byte> vectors;
        std::optional<QueryCodes> codes;
    };
    struct Ready {
        GraphAsk ask;
        std::shared_ptr<Group> group;
        std::size_t number = 0;  // in the group
    };
    struct Open {
        std::unique_ptr<GraphPassage> passage;
        std::shared_ptr<Group> group;
    };

    void begin_next();

    const Graph& graph_;
    std::size_t width_;
    std::optional<std::shared_lock<std::shared_mutex>> lock_;
    std::deque<Ready> ready_[2];  // that came alone; of many
    std::vector<Open> open_;
    std::vector<std::unique_ptr<GraphPassage>> spare_;
    std::size_t turns_ = 0;
};

}  // namespace fairlead::vectors

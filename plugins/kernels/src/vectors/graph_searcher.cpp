#include "vectors/graph_searcher.hpp"

#include <algorithm>
#include <cstring>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kTogether = 32;
// Of so many queries that begin one is of many, where there are such.
constexpr std::size_t kTurns = 4;

}  // namespace

std::size_t GraphSearcher::room(bool later) const {
    if (lock_ && graph_.changing_.writer_waits()) return 0;
    // Rounded together they cost less: the next come when those before have begun and one more may.
    return open_.size() < width_ && ready_[later ? 1 : 0].empty() ? kTogether : 0;
}

void GraphSearcher::admit(std::span<const GraphAsk> asks) {
    if (asks.empty()) return;
    if (!lock_) lock_.emplace(graph_.changing_.shared());
    const std::size_t bytes = graph_.encoder().space.bytes();
    auto group = std::make_shared<Group>();
    group->vectors.resize(asks.size() * bytes);
    for (std::size_t i = 0; i < asks.size(); ++i) {
        std::memcpy(group->vectors.data() + i * bytes, asks[i].query, bytes);
        ready_[asks[i].later ? 1 : 0].push_back({asks[i], group, i});
    }
    group->codes.emplace(graph_, group->vectors.data(), asks.size());
}

void GraphSearcher::begin_next() {
    const bool turn = ready_[0].empty() || ++turns_ % kTurns == 0;
    std::deque<Ready>& from = ready_[turn && !ready_[1].empty() ? 1 : 0];
    Ready next = std::move(from.front());
    from.pop_front();
    Open open{nullptr, std::move(next.group)};
    if (spare_.empty()) {
        open.passage = std::make_unique<GraphPassage>(graph_);
    } else {
        open.passage = std::move(spare_.back());
        spare_.pop_back();
    }
    const QueryCodes& codes = *open.group->codes;
    open.passage->start(next.ask, codes.walked(next.number), codes.exact(next.number), graph_.filter_of(*next.ask.options),
                        nullptr, kernels_in_use());
    open_.push_back(std::move(open));
}

bool GraphSearcher::step(bool, std::vector<GraphAsk>& finished) {
    while (open_.size() < width_ && (!ready_[0].empty() || !ready_[1].empty())) begin_next();
    for (std::size_t i = 0; i < open_.size();) {
        if (open_[i].passage->turn()) {
            ++i;
            continue;
        }
        finished.push_back(open_[i].passage->ask());
        spare_.push_back(std::move(open_[i].passage));
        open_[i] = std::move(open_.back());
        open_.pop_back();
    }
    if (idle()) lock_.reset();
    return true;
}

void GraphSearcher::abandon() {
    open_.clear();
    for (auto& ready : ready_) ready.clear();
    lock_.reset();
}

}  // namespace fairlead::vectors

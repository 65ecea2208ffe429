#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fairlead/vectors/stream.hpp"
#include "fairlead/vectors/tier_graph_stream.hpp"
#include "vectors/tier_graph_searcher.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kTogether = 32;

// Answers the queries [begin, end).
void answer(const TierGraph& graph, Tier& tier, const std::byte* queries, std::size_t begin, std::size_t end,
            const TierGraphSearch& options, const TierGraphFound& found) {
    TierGraphSearcher searcher(graph, tier, options.in_flight, options.width);
    std::vector<TierGraphAsk> some, finished;
    for (std::size_t at = begin; at < end; at += kTogether) {
        some.clear();
        for (std::size_t q = at; q < std::min(at + kTogether, end); ++q) {
            some.push_back({queries + q * graph.encoder().space.bytes(), &options, &found, q});
        }
        searcher.admit(some);
        // The next are admitted when one may begin, or where a change waits when those under way have ended.
        while (searcher.room(false) == 0 && !searcher.idle()) searcher.step(true, finished);
        finished.clear();
    }
    while (!searcher.idle()) searcher.step(true, finished);
}

std::vector<std::unique_ptr<TierGraphSearcher>> searchers(const TierGraph& graph, std::span<Tier* const> tiers,
                                                          std::size_t in_flight, std::size_t width) {
    std::vector<std::unique_ptr<TierGraphSearcher>> made;
    for (Tier* tier : tiers) made.push_back(std::make_unique<TierGraphSearcher>(graph, *tier, in_flight, width));
    return made;
}

}  // namespace

void TierGraph::search(std::span<Tier* const> tiers, const std::byte* queries, std::size_t count,
                       const TierGraphSearch& options, const TierGraphFound& found) const {
    const std::size_t threads = std::clamp<std::size_t>(count / 4, 1, std::max<std::size_t>(1, tiers.size()));
    const std::size_t share = (count + threads - 1) / threads;
    std::vector<std::exception_ptr> failed(threads);
    const auto work = [&](std::size_t thread) {
        try {
            answer(*this, *tiers[thread], queries, std::min(count, thread * share), std::min(count, (thread + 1) * share),
                   options, found);
        } catch (...) {
            failed[thread] = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < threads; ++i) others.emplace_back(work, i);
    work(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& failure : failed) {
        if (failure) std::rethrow_exception(failure);
    }
}

struct TierGraphStream::State {
    std::size_t width, stride;
    Stream<TierGraphSearcher> stream;
};

TierGraphStream::TierGraphStream(const TierGraph& graph, std::span<Tier* const> tiers, std::size_t in_flight,
                                 std::size_t width)
    : state_(new State{width, graph.encoder().space.bytes(),
                       Stream<TierGraphSearcher>(searchers(graph, tiers, in_flight, width))}) {}

TierGraphStream::~TierGraphStream() = default;

void TierGraphStream::check(const TierGraphSearch& options) const {
    if (options.width > state_->width) {
        throw std::invalid_argument("width: this stream's queries may have " + std::to_string(state_->width));
    }
}

void TierGraphStream::search(const std::byte* queries, std::size_t count, const TierGraphSearch& options,
                             const TierGraphFound& found) {
    check(options);
    state_->stream.search(queries, state_->stride, count, options, found);
}

void TierGraphStream::replay(const std::byte* queries, std::size_t rows, std::span<const double> due, double* waited,
                             const TierGraphSearch& options, const TierGraphFound& found) {
    check(options);
    state_->stream.replay(queries, state_->stride, rows, due, waited, options, found);
}

}  // namespace fairlead::vectors

#include <algorithm>
#include <exception>
#include <thread>
#include <vector>

#include "vectors/list_searcher.hpp"

namespace fairlead::vectors {
namespace {

// Queries of a thread after which changes are let in.
constexpr std::size_t kBetweenChanges = 256;
constexpr std::size_t kTogether = 32;

// Answers the queries [begin, end).
void answer(const Lists& lists, Tier& tier, const std::byte* queries, std::size_t begin, std::size_t end,
            const ListSearch& options, const ListFound& found) {
    ListSearcher searcher(lists, tier, options.in_flight, options.exact ? options.reads : 0, options.gap);
    std::vector<ListAsk> some, finished;
    for (std::size_t first = begin; first < end; first += kBetweenChanges) {
        const std::size_t last = std::min(first + kBetweenChanges, end);
        for (std::size_t at = first; at < last; at += kTogether) {
            some.clear();
            for (std::size_t q = at; q < std::min(at + kTogether, last); ++q) {
                some.push_back({queries + q * lists.row_bytes(), &options, &found, q});
            }
            searcher.admit(some);
            while (searcher.scanning()) searcher.step(false, finished);
        }
        // Rows may be used anew once this thread lets changes in.
        while (!searcher.idle()) searcher.step(true, finished);
        finished.clear();
    }
}

}  // namespace

void Lists::search(std::span<Tier* const> tiers, const std::byte* queries, std::size_t count, const ListSearch& options,
                   const ListFound& found) const {
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

}  // namespace fairlead::vectors

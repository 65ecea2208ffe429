#include "fairlead/vectors/list_stream.hpp"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fairlead/vectors/stream.hpp"
#include "vectors/list_searcher.hpp"

namespace fairlead::vectors {
namespace {

std::vector<std::unique_ptr<ListSearcher>> searchers(const Lists& lists, std::span<Tier* const> tiers,
                                                     std::size_t in_flight, std::size_t most_reads, std::size_t gap) {
    std::vector<std::unique_ptr<ListSearcher>> made;
    for (Tier* tier : tiers) made.push_back(std::make_unique<ListSearcher>(lists, *tier, in_flight, most_reads, gap));
    return made;
}

}  // namespace

struct ListStream::State {
    std::size_t most_reads, gap, stride;
    Stream<ListSearcher> stream;
};

ListStream::ListStream(const Lists& lists, std::span<Tier* const> tiers, std::size_t in_flight, std::size_t most_reads,
                       std::size_t gap)
    : state_(new State{most_reads, gap, lists.row_bytes(), Stream<ListSearcher>(searchers(lists, tiers, in_flight, most_reads, gap))}) {}

ListStream::~ListStream() = default;

void ListStream::check(const ListSearch& options) const {
    if (options.exact && options.reads > state_->most_reads) {
        throw std::invalid_argument("reads: this stream's queries may have " + std::to_string(state_->most_reads));
    }
}

void ListStream::search(const std::byte* queries, std::size_t count, const ListSearch& options, const ListFound& found) {
    check(options);
    state_->stream.search(queries, state_->stride, count, options, found);
}

void ListStream::replay(const std::byte* queries, std::size_t rows, std::span<const double> due, double* waited,
                        const ListSearch& options, const ListFound& found) {
    check(options);
    state_->stream.replay(queries, state_->stride, rows, due, waited, options, found);
}

}  // namespace fairlead::vectors

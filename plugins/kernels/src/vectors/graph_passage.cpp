#include "vectors/graph_passage.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace fairlead::vectors {
namespace {

constexpr std::size_t kScanned = 64;

}  // namespace

void GraphPassage::start(const GraphAsk& ask, const std::int8_t* walked, const std::byte* exact,
                         const GraphFilter& filter, const std::vector<std::uint32_t>* scanned,
                         const KernelTable& kernels) {
    ask_ = ask;
    exact_ = exact;
    walking_ = true;
    walk_.start(walked, scanned != nullptr ? 0 : ask.options->beam, ask.options->rerank, filter, kernels);
    if (scanned == nullptr) return;
    for (std::size_t first = 0; first < scanned->size(); first += kScanned) {
        const std::size_t ahead = std::min(scanned->size(), first + kScanned);
        walk_.fetch(scanned->data() + ahead, std::min(kScanned, scanned->size() - ahead));
        walk_.score(scanned->data() + first, ahead - first);
    }
}

bool GraphPassage::turn() {
    if (!walking_) {
        answer();
        return false;
    }
    if (!walk_.turn()) ask_for_rows();
    return true;
}

void GraphPassage::ask_for_rows() {
    candidates_.resize(std::min(walk_.found().size(), ask_.options->rerank));
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
        candidates_[i] = Beam::vertex(walk_.found()[i]);
        graph_.rows().prefetch(candidates_[i]);
    }
    walking_ = false;
}

void GraphPassage::answer() {
    const std::size_t count = candidates_.size(), k = ask_.options->k, found = std::min(k, count);
    distances_.resize(count);
    order_.resize(count);
    graph_.rows().to_query(exact_, candidates_.data(), count, distances_.data());
    std::iota(order_.begin(), order_.end(), 0U);
    const auto nearer = [this](std::uint32_t a, std::uint32_t b) {
        if (distances_[a] != distances_[b]) return distances_[a] < distances_[b];
        return candidates_[a] < candidates_[b];
    };
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(found), order_.end(), nearer);
    const GraphAnswers& to = *ask_.found;
    for (std::size_t i = 0; i < k; ++i) {
        to.slots[ask_.at * k + i] = i < found ? std::int64_t{graph_.slot_of(candidates_[order_[i]])} : -1;
        to.distances[ask_.at * k + i] = i < found ? distances_[order_[i]] : std::numeric_limits<float>::infinity();
    }
    to.hops[ask_.at] = walk_.hops();
    to.scored[ask_.at] = walk_.scored();
}

}  // namespace fairlead::vectors

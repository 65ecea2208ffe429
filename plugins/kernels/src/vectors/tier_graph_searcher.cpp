#include "vectors/tier_graph_searcher.hpp"

#include <algorithm>
#include <cstring>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kTogether = 32;
// Of so many queries that begin one is of many, where there are such.
constexpr std::size_t kTurns = 4;
// Vectors that are read together in the end, at least.
constexpr std::size_t kPlaces = 24;
constexpr std::size_t kLeastFlights = 4;
// Passages that are asked after where the oldest has not come.
constexpr std::size_t kAskedAfter = 4;

}  // namespace

TierGraphSearcher::TierGraphSearcher(const TierGraph& graph, Tier& tier, std::size_t in_flight, std::size_t width)
    : graph_(graph), tier_(tier) {
    const std::size_t places = std::max(kPlaces, width), each = places * TierGraphPassage::place_bytes(graph.layout());
    const bool direct = tier.size() > 0 && tier.direct(0) != nullptr;
    // Rather fewer queries in flight than a copy of each read.
    const std::size_t fit = std::max(kLeastFlights, tier.most_landing() / each);
    const std::size_t flights = direct ? in_flight : std::min(in_flight, fit);
    std::byte* zone = direct ? nullptr : tier.landing(flights * each).data();
    for (std::size_t i = 0; i < flights; ++i) {
        spare_.push_back(
            std::make_unique<TierGraphPassage>(graph, tier, zone == nullptr ? nullptr : zone + i * each, places));
    }
}

TierGraphSearcher::~TierGraphSearcher() = default;

std::size_t TierGraphSearcher::room(bool later) const {
    if (lock_ && graph_.changing_.writer_waits()) return 0;
    // Rounded together they cost less: the next come when those before have begun and one more may.
    return !spare_.empty() && ready_[later ? 1 : 0].empty() ? kTogether : 0;
}

void TierGraphSearcher::admit(std::span<const TierGraphAsk> asks) {
    if (asks.empty()) return;
    if (!lock_) lock_.emplace(graph_.changing_.shared());
    const std::size_t bytes = graph_.encoder_.space.bytes();
    auto group = std::make_shared<Group>();
    group->vectors.resize(asks.size() * bytes);
    std::shared_ptr<const std::vector<std::uint32_t>> scanned;
    for (std::size_t i = 0; i < asks.size(); ++i) {
        const TierGraphSearch* options = asks[i].options;
        std::memcpy(group->vectors.data() + i * bytes, asks[i].query, bytes);
        // Those of one caller scan the same.
        if (options->scan && (i == 0 || asks[i - 1].options != options)) {
            scanned = std::make_shared<const std::vector<std::uint32_t>>(graph_.passing(*options));
        }
        ready_[asks[i].later ? 1 : 0].push_back({asks[i], group, i, options->scan ? scanned : nullptr});
    }
    group->walked.resize(asks.size() * graph_.encoder_.code_bytes());
    graph_.walked(group->vectors.data(), asks.size(), group->walked.data());
}

void TierGraphSearcher::begin_next() {
    const bool turn = ready_[0].empty() || ++turns_ % kTurns == 0;
    std::deque<Ready>& from = ready_[turn && !ready_[1].empty() ? 1 : 0];
    Ready next = std::move(from.front());
    from.pop_front();
    Open open{std::move(spare_.back()), std::move(next.group)};
    spare_.pop_back();
    const std::int8_t* walked = open.group->walked.data() + next.number * graph_.encoder_.code_bytes();
    open.passage->start(next.ask, walked, next.scanned.get(), kernels_in_use());
    computing_.push_back(std::move(open));
    ++under_way_;
}

bool TierGraphSearcher::step(bool wait, std::vector<TierGraphAsk>& finished) {
    while (!spare_.empty() && scanning()) begin_next();
    if (computing_.empty() && !collect(kAskedAfter)) {
        if (!wait || waiting_.empty()) {
            if (idle()) lock_.reset();
            return false;
        }
        tier_.wait(waiting_.front().passage->ticket());
        collect(1);
    }
    Open open = std::move(computing_.front());
    computing_.pop_front();
    switch (open.passage->turn()) {
        case TierGraphPassage::Turn::working: computing_.push_back(std::move(open)); break;
        case TierGraphPassage::Turn::waiting: waiting_.push_back(std::move(open)); break;
        case TierGraphPassage::Turn::finished:
            finished.push_back(open.passage->ask());
            spare_.push_back(std::move(open.passage));
            --under_way_;
    }
    if (idle()) lock_.reset();
    return true;
}

// Takes those whose records have come, in the order in which they were asked for; where the oldest have not, others
// among the next few. False: none has.
bool TierGraphSearcher::collect(std::size_t most) {
    std::size_t missing = 0;
    for (std::size_t i = 0; i < waiting_.size() && missing < most;) {
        if (!tier_.done(waiting_[i].passage->ticket())) {
            ++missing;
            ++i;
            continue;
        }
        computing_.push_back(std::move(waiting_[i]));
        waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return !computing_.empty();
}

// The zone stays with each passage, so all of them are kept.
void TierGraphSearcher::abandon() {
    for (auto* open : {&computing_, &waiting_}) {
        for (Open& each : *open) spare_.push_back(std::move(each.passage));
        open->clear();
    }
    under_way_ = 0;
    for (auto& ready : ready_) ready.clear();
    lock_.reset();
}

}  // namespace fairlead::vectors

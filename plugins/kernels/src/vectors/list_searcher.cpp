#include "vectors/list_searcher.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();
// Queries that are turned and compared with the centroids together.
constexpr std::size_t kTogether = 32;
constexpr std::size_t kLeastFlights = 4;
// Codes that a query scans before it lets others go first.
constexpr std::int32_t kPiece = 1 << 14;
// Of so many turns one is for queries of many.
constexpr std::size_t kTurns = 4;
// Flights that are asked after in one step.
constexpr std::size_t kAskedAfter = 4;

// Distances that have left float32's range come last.
float ordered(float distance) { return distance < kNever ? distance : kNever; }

float from_bfloat16(std::uint16_t bits) { return __builtin_bit_cast(float, std::uint32_t{bits} << 16); }

void prefetch(const List& list) {
    const auto* p = reinterpret_cast<const std::uint8_t*>(list.codes.data());
    const std::size_t bytes = std::min<std::size_t>(list.codes.size() * kLine, 4096);
    for (std::size_t b = 0; b < bytes; b += kLine) __builtin_prefetch(p + b);
}

bool allowed(const ListSearch& options, std::uint32_t slot) {
    return options.all || (slot / 8 < options.allowed.size() && (options.allowed[slot / 8] >> (slot % 8) & 1));
}

}  // namespace

ListSearcher::ListSearcher(const Lists& lists, Tier& tier, std::size_t in_flight, std::size_t most_reads, std::size_t gap)
    : lists_(lists), tier_(tier), gap_(gap), query_(lists.coder().space()),
      direct_(tier.size() > 0 ? tier.direct(0) : nullptr), zone_(most_reads * (lists.row_bytes() + gap)),
      low_(lists.coder().row()), high_(lists.coder().row()) {
    // Rather fewer queries in flight than a copy of each read.
    const std::size_t fit = std::max<std::size_t>(kLeastFlights, tier.most_landing() / std::max<std::size_t>(1, zone_));
    flights_.resize(direct_ ? 1 : std::min(in_flight, fit));
    if (!direct_ && most_reads > 0) landing_ = tier.landing(zone_ * flights_.size()).data();
    for (std::uint32_t i = 0; i < flights_.size(); ++i) grounded_.push_back(i);
}

ListSearcher::~ListSearcher() = default;

std::size_t ListSearcher::room(bool later) const {
    if (reading_ && lists_.change_waits()) return 0;
    // Prepared together they cost less: the next come when those before have begun.
    return ready_[later ? 1 : 0].empty() ? kTogether : 0;
}

std::unique_ptr<ListSearcher::Scan> ListSearcher::taken() {
    if (spare_.empty()) return std::make_unique<Scan>();
    std::unique_ptr<Scan> scan = std::move(spare_.back());
    spare_.pop_back();
    return scan;
}

void ListSearcher::retire(std::unique_ptr<Scan> scan) { spare_.push_back(std::move(scan)); }

void ListSearcher::admit(std::span<const ListAsk> asks) {
    if (asks.empty()) return;
    if (!reading_) reading_.emplace(lists_);
    const ListCoder& coder = lists_.coder();
    const std::size_t bytes = lists_.row_bytes(), count = asks.size(), lists = lists_.lists();
    const std::byte* queries = asks[0].query;
    for (std::size_t i = 1; i < count; ++i) {
        if (asks[i].query != queries + i * bytes) queries = nullptr;
        if (queries == nullptr) break;
    }
    if (queries == nullptr) {
        together_.resize(count * bytes);
        for (std::size_t i = 0; i < count; ++i) std::memcpy(together_.data() + i * bytes, asks[i].query, bytes);
        queries = together_.data();
    }
    coder.prepare(queries, count, turned_, prepared_);
    products_.resize(count * lists);
    kernels_in_use().multiply_floats(lists_.centroids_.data(), coder.lead(), 0, lists, turned_.lead.data(), count,
                                     products_.data(), lists);
    for (std::size_t i = 0; i < count; ++i) {
        std::unique_ptr<Scan> scan = taken();
        scan->ask = asks[i];
        std::swap(scan->query, prepared_[i]);
        scan->products.assign(products_.data() + i * lists, products_.data() + (i + 1) * lists);
        scan->begun = false;
        ready_[asks[i].later ? 1 : 0].push_back(std::move(scan));
    }
}

bool ListSearcher::step(bool wait, std::vector<ListAsk>& finished) {
    const bool turn = ready_[0].empty() || ++turns_ % kTurns == 0;
    std::deque<std::unique_ptr<Scan>>& ready = ready_[turn && !ready_[1].empty() ? 1 : 0];
    bool worked = false;
    if (!ready.empty()) {
        std::unique_ptr<Scan> first = std::move(ready.front());
        ready.pop_front();
        if (scan(*first)) {
            submit(*first, finished);
            retire(std::move(first));
        } else {
            ready_[1].push_back(std::move(first));
        }
        worked = true;
    }
    worked = land(kAskedAfter, finished) || worked;
    if (!worked && wait && !flying_.empty()) {
        land_oldest(finished);
        worked = true;
    }
    if (idle()) reading_.reset();
    return worked;
}

void ListSearcher::abandon() {
    for (auto& ready : ready_) ready.clear();
    flying_.clear();
    grounded_.clear();
    for (std::uint32_t i = 0; i < flights_.size(); ++i) grounded_.push_back(i);
    reading_.reset();
}

// The query's nearest lists, the nearest first.
void ListSearcher::choose_lists(Scan& scan) {
    const std::uint32_t count = lists_.lists(), probes = std::min(scan.ask.options->probes, count);
    const bool dot = lists_.coder().space().metric == Metric::dot && lists_.coder().space().element != Element::bit;
    const float *norm2 = lists_.centroid_norm2_.data(), *product = scan.products.data();
    values_.resize(3 * std::size_t{count});
    float *apart = values_.data(), *copy = apart + count;
    for (std::uint32_t i = 0; i < count; ++i) {
        apart[i] = copy[i] = ordered(dot && norm2[i] < kNever ? -product[i] : norm2[i] - 2 * product[i]);
    }
    const float last = probes < count ? list_kernels().smallest_but(copy, count, probes - 1, copy + count) : kNever;
    scan.order.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
        if (apart[i] < last) scan.order.push_back({apart[i], i, product[i]});
    }
    for (std::uint32_t i = 0; i < count && scan.order.size() < probes; ++i) {
        if (apart[i] == last) scan.order.push_back({apart[i], i, product[i]});
    }
    std::sort(scan.order.begin(), scan.order.end());
}

void ListSearcher::begin(Scan& scan) {
    choose_lists(scan);
    scan.candidates.clear();
    scan.next = 0;
    if (lists_.copies() > 0) {
        scan.probed.assign(lists_.lists() / 64 + 1, 0);
        for (const Probe& probe : scan.order) scan.probed[probe.list / 64] |= std::uint64_t{1} << probe.list % 64;
    }
    scan.limit = kNever;
    scan.scanned = 0;
    scan.begun = true;
}

// A piece of a query's lists; true: it was the last.
bool ListSearcher::scan(Scan& scan) {
    if (!scan.begun) begin(scan);
    const std::size_t wanted = scan.ask.options->candidates;
    for (const std::int32_t end = scan.scanned + kPiece; scan.next < scan.order.size();) {
        if (scan.scanned >= end) return false;
        const Probe& probe = scan.order[scan.next++];
        if (scan.next < scan.order.size()) prefetch(lists_.lists_[scan.order[scan.next].list]);
        const List& list = lists_.lists_[probe.list];
        if (list.live == 0 && list.copies.live == 0) continue;
        scan.scanned += static_cast<std::int32_t>(list.entries() + list.copies.entries());
        scan_list(scan, probe);
        if (scan.candidates.size() > 2 * wanted) scan.limit = cut(scan, wanted);
    }
    if (scan.candidates.size() > wanted) cut(scan, wanted);
    scan.ask.found->scanned[scan.ask.at] = scan.scanned;
    finish_estimates(scan);
    return true;
}

// How many entries are below the limit: estimates_ and positions_.
std::size_t ListSearcher::near(const ListScan& aimed, const std::vector<CodeLine>& codes, std::uint32_t entries,
                               float limit) {
    if (estimates_.size() < entries + kLanes) {
        estimates_.resize(entries + kLanes);
        positions_.resize(entries + kLanes);
    }
    return list_kernels().scan(aimed, codes.data()->bytes, entries / kLanes, limit, estimates_.data(), positions_.data());
}

void ListSearcher::scan_list(Scan& scan, const Probe& probe) {
    const List& list = lists_.lists_[probe.list];
    const ListScan aimed = lists_.coder().aim(scan.query, lists_.centroid(probe.list), lists_.centroid_norm2_[probe.list],
                                              probe.product, low_.data(), high_.data());
    if (list.live > 0) scan_home(scan, aimed, probe.list);
    if (list.copies.live > 0) scan_copies(scan, aimed, probe.list);
}

void ListSearcher::scan_home(Scan& scan, const ListScan& aimed, std::uint32_t number) {
    const List& list = lists_.lists_[number];
    const std::size_t count = near(aimed, list.codes, list.entries(), scan.limit);
    const std::uint32_t high = number << kEntryBits;
    std::vector<Candidate>& candidates = scan.candidates;
    const ListSearch& options = *scan.ask.options;
    if (options.all) {
        const std::size_t before = candidates.size();
        candidates.resize(before + count);
        for (std::size_t i = 0; i < count; ++i) candidates[before + i] = {estimates_[i], high | positions_[i]};
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (allowed(options, list.slots[positions_[i]])) candidates.push_back({estimates_[i], high | positions_[i]});
    }
}

// Copies whose vectors are at home in lists that are not probed; each vector once.
void ListSearcher::scan_copies(Scan& scan, const ListScan& aimed, std::uint32_t number) {
    const Copies& copies = lists_.lists_[number].copies;
    const std::size_t count = near(aimed, copies.codes, copies.entries(), scan.limit);
    const auto probed = [&](std::uint32_t list) { return scan.probes(list); };
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t slot = copies.slots[positions_[i]];
        if (!lists_.counts(slot, number << kEntryBits | positions_[i], probed)) continue;
        if (allowed(*scan.ask.options, slot)) scan.candidates.push_back({estimates_[i], lists_.entry_of_[slot]});
    }
}

// Keeps the nearest, fewer than there are, and returns what others must be below.
float ListSearcher::cut(Scan& scan, std::size_t count) {
    std::vector<Candidate>& candidates = scan.candidates;
    const std::size_t all = candidates.size();
    values_.resize(2 * all);
    for (std::size_t i = 0; i < all; ++i) values_[i] = candidates[i].estimate;
    const float last = list_kernels().smallest_but(values_.data(), all, count - 1, values_.data() + all);
    std::size_t kept = 0;
    level_.clear();
    for (std::size_t i = 0; i < all; ++i) {
        const Candidate one = candidates[i];
        candidates[kept] = one;
        kept += one.estimate < last;
        if (one.estimate == last) level_.push_back(one);
    }
    // Of those as near as the last the first entries.
    if (level_.size() > count - kept) std::sort(level_.begin(), level_.end());
    candidates.resize(kept);
    candidates.insert(candidates.end(), level_.begin(), level_.begin() + static_cast<std::ptrdiff_t>(count - kept));
    return last;
}

void ListSearcher::finish_estimates(Scan& scan) const {
    const std::size_t bytes = lists_.coder().tail_bytes();
    if (bytes == 0) return;
    constexpr std::size_t kAhead = 6;
    std::vector<Candidate>& candidates = scan.candidates;
    const auto tail = [&](const Candidate& c) { return list_of(c.entry).tails.data() + place(c.entry) * bytes; };
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (i + kAhead < candidates.size()) {
            const std::uint32_t next = candidates[i + kAhead].entry;
            const std::uint8_t* ahead = tail(candidates[i + kAhead]);
            for (std::size_t b = 0; b < bytes; b += kLine) __builtin_prefetch(ahead + b);
            __builtin_prefetch(list_of(next).scales.data() + place(next));
        }
        Candidate& c = candidates[i];
        const float scale = from_bfloat16(list_of(c.entry).scales[place(c.entry)]);
        c.estimate = ordered(c.estimate - lists_.coder().tail_share(scan.query, tail(c), scale));
    }
}

// How many candidates are read: the first k, and those that may yet belong there.
std::size_t ListSearcher::worth_reading(Scan& scan) const {
    const ListSearch& o = *scan.ask.options;
    std::vector<Candidate>& candidates = scan.candidates;
    const std::size_t most = std::min<std::size_t>(o.reads, candidates.size());
    const auto at = [&](std::size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
    if (most < candidates.size()) std::nth_element(at(0), at(most), candidates.end());
    const float spread = lists_.coder().spread(scan.query);
    if (most <= o.k || !(spread > 0)) return most;
    std::nth_element(at(0), at(o.k - 1), at(most));
    const auto error = [&](const Candidate& c) {
        return o.spread * spread * from_bfloat16(list_of(c.entry).scales[place(c.entry)]);
    };
    const float bound = candidates[o.k - 1].estimate, own = error(candidates[o.k - 1]);
    std::size_t count = o.k;
    for (std::size_t i = o.k; i < most; ++i) {
        const float other = error(candidates[i]);
        const float margin = o.confidence * std::sqrt(own * own + other * other);
        if (candidates[i].estimate - bound <= margin) candidates[count++] = candidates[i];
    }
    return count;
}

void ListSearcher::submit(Scan& scan, std::vector<ListAsk>& finished) {
    const ListAsk& ask = scan.ask;
    if (!ask.options->exact) {
        give_estimates(scan);
        finished.push_back(ask);
        return;
    }
    scan.candidates.resize(worth_reading(scan));
    ask.found->reads[ask.at] = static_cast<std::int32_t>(scan.candidates.size());
    ask.found->trips[ask.at] = scan.candidates.empty() ? 0 : 1;
    if (direct_) {
        rank_in_place(scan);
        finished.push_back(ask);
        return;
    }
    if (grounded_.empty()) land_oldest(finished);
    take_off(scan, finished);
}

void ListSearcher::rank_in_place(Scan& scan) {
    const std::size_t bytes = lists_.row_bytes();
    Flight& flight = flights_[0];
    flight.ask = scan.ask;
    flight.slots.clear();
    flight.at.clear();
    for (const Candidate& c : scan.candidates) {
        flight.slots.push_back(list_of(c.entry).slots[place(c.entry)]);
        flight.at.push_back(lists_.row_of(list_of(c.entry), place(c.entry)));
    }
    scan.ask.found->bytes[scan.ask.at] = static_cast<std::int64_t>(flight.at.size() * bytes);
    rank(flight, direct_, bytes);
}

void ListSearcher::take_off(Scan& scan, std::vector<ListAsk>& finished) {
    const std::size_t bytes = lists_.row_bytes();
    const std::uint32_t number = grounded_.back();
    Flight& flight = flights_[number];
    flight.ask = scan.ask;
    flight.slots.clear();
    flight.at.clear();
    rows_.clear();
    for (const Candidate& c : scan.candidates) {
        rows_.push_back({lists_.row_of(list_of(c.entry), place(c.entry)), list_of(c.entry).slots[place(c.entry)]});
    }
    std::sort(rows_.begin(), rows_.end());
    std::byte* zone = landing_ + number * zone_;
    reads_.clear();
    std::size_t used = 0;
    for (const auto& [row, slot] : rows_) {
        const std::uint64_t offset = std::uint64_t{row} * bytes;
        const bool joined = !reads_.empty() && offset - (reads_.back().offset + reads_.back().length) <= gap_;
        if (joined) {
            const auto longer = static_cast<std::uint32_t>(offset + bytes - reads_.back().offset);
            used += longer - reads_.back().length;
            reads_.back().length = longer;
        } else {
            reads_.push_back({offset, static_cast<std::uint32_t>(bytes), zone + used});
            used += bytes;
        }
        flight.slots.push_back(slot);
        flight.at.push_back(static_cast<std::uint32_t>(used - bytes));
    }
    scan.ask.found->bytes[scan.ask.at] = static_cast<std::int64_t>(used);
    if (reads_.empty()) {
        rank(flight, zone, 1);
        finished.push_back(flight.ask);
        return;
    }
    flight.ticket = tier_.submit(reads_);
    grounded_.pop_back();
    flying_.push_back(number);
}

// Ranks what has arrived of the oldest few; returns whether anything had.
bool ListSearcher::land(std::size_t most, std::vector<ListAsk>& finished) {
    const std::size_t before = flying_.size();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < before; ++i) {
        const std::uint32_t number = flying_[i];
        if (kept >= most || !tier_.done(flights_[number].ticket)) {
            flying_[kept++] = number;
            continue;
        }
        rank(flights_[number], landing_ + number * zone_, 1);
        finished.push_back(flights_[number].ask);
        grounded_.push_back(number);
    }
    flying_.resize(kept);
    return kept < before;
}

void ListSearcher::land_oldest(std::vector<ListAsk>& finished) {
    tier_.wait(flights_[flying_.front()].ticket);
    land(1, finished);
}

void ListSearcher::rank(const Flight& flight, const std::byte* base, std::size_t stride) {
    query_.set(flight.ask.query);
    exact_.resize(flight.slots.size());
    distances(query_, base, stride, flight.at.data(), flight.at.size(), exact_.data());
    nearest_.clear();
    for (std::size_t i = 0; i < exact_.size(); ++i) nearest_.push_back({ordered(exact_[i]), flight.slots[i]});
    give(flight.ask);
}

void ListSearcher::give_estimates(Scan& scan) {
    nearest_.clear();
    for (const Candidate& c : scan.candidates) {
        nearest_.push_back({c.estimate, list_of(c.entry).slots[place(c.entry)]});
    }
    const ListFound& found = *scan.ask.found;
    found.reads[scan.ask.at] = found.trips[scan.ask.at] = 0;
    found.bytes[scan.ask.at] = 0;
    give(scan.ask);
}

void ListSearcher::give(const ListAsk& ask) {
    const std::size_t k = ask.options->k, count = std::min<std::size_t>(k, nearest_.size());
    std::partial_sort(nearest_.begin(), nearest_.begin() + static_cast<std::ptrdiff_t>(count), nearest_.end());
    for (std::size_t i = 0; i < k; ++i) {
        ask.found->slots[ask.at * k + i] = i < count ? std::int64_t{nearest_[i].slot} : -1;
        ask.found->distances[ask.at * k + i] = i < count ? nearest_[i].distance : kNever;
    }
}

}  // namespace fairlead::vectors

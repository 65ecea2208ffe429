#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <string>
#include <thread>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();
// Queries that are turned and compared with the centroids together.
constexpr std::size_t kTogether = 32;
// Queries of a thread after which changes are let in.
constexpr std::size_t kBetweenChanges = 256;
constexpr std::size_t kLeastFlights = 4;

struct Candidate {
    float estimate;
    std::uint32_t entry;  // list and entry

    bool operator<(const Candidate& other) const {
        return estimate != other.estimate ? estimate < other.estimate : entry < other.entry;
    }
};

struct Nearest {
    float distance;
    std::uint32_t slot;

    bool operator<(const Nearest& other) const {
        return distance != other.distance ? distance < other.distance : slot < other.slot;
    }
};

// Distances that have left float32's range come last.
float ordered(float distance) { return distance < kNever ? distance : kNever; }

float from_bfloat16(std::uint16_t bits) { return __builtin_bit_cast(float, std::uint32_t{bits} << 16); }

// A query whose exact vectors are on their way.
struct Flight {
    std::size_t query = 0;
    std::uint64_t ticket = 0;
    std::vector<std::uint32_t> slots;
    std::vector<std::uint32_t> at;  // rows of the region, or of this flight's part of the landing zone, by unit
};

}  // namespace

// One thread's search: a machine whose states are the queries in flight. A query is scanned, its reads are submitted,
// and the next one is scanned meanwhile; what has arrived is ranked.
class ListSearcher {
public:
    ListSearcher(const Lists& lists, Tier& tier, const std::byte* queries, const ListSearch& options,
                 const ListFound& found)
        : lists_(lists), tier_(tier), queries_(queries), o_(options), found_(found), query_(lists.coder().space()),
          direct_(tier.size() > 0 ? tier.direct(0) : nullptr), low_(lists.coder().row()), high_(lists.coder().row()) {
        zone_ = o_.reads * (lists.row_bytes() + o_.gap);
        // Rather fewer queries in flight than a copy of each read.
        const std::size_t fit = std::max<std::size_t>(kLeastFlights, tier.most_landing() / std::max<std::size_t>(1, zone_));
        flights_.resize(direct_ ? 1 : std::min<std::size_t>(o_.in_flight, fit));
        if (!direct_ && o_.exact) landing_ = tier.landing(zone_ * flights_.size()).data();
    }

    void run(std::size_t begin, std::size_t end) {
        for (std::size_t first = begin; first < end; first += kBetweenChanges) {
            const Lists::Reading reading(lists_);
            const std::size_t last = std::min(first + kBetweenChanges, end);
            for (std::size_t some = first; some < last; some += kTogether) scan_some(some, std::min(kTogether, last - some));
            // Rows may be used anew once this thread lets changes in.
            while (flying_ > 0) land(true);
        }
    }

private:
    void scan_some(std::size_t first, std::size_t count) {
        prepare(first, count);
        for (std::size_t i = 0; i < count; ++i) {
            scan(first + i, prepared_[i], products_.data() + i * lists_.lists());
            land(false);
        }
    }

    void prepare(std::size_t first, std::size_t count) {
        const ListCoder& coder = lists_.coder();
        coder.prepare(queries_ + first * lists_.row_bytes(), count, turned_, prepared_);
        products_.resize(count * lists_.lists());
        kernels_in_use().multiply_floats(lists_.centroids_.data(), coder.lead(), 0, lists_.lists(), turned_.lead.data(),
                                         count, products_.data(), lists_.lists());
    }

    // The query's nearest lists, the nearest first.
    void choose_lists(const float* products) {
        const std::uint32_t count = lists_.lists();
        const bool dot = lists_.coder().space().metric == Metric::dot && lists_.coder().space().element != Element::bit;
        order_.resize(count);
        for (std::uint32_t i = 0; i < count; ++i) {
            const float norm2 = lists_.centroid_norm2_[i];
            const float distance = dot && norm2 < kNever ? -products[i] : norm2 - 2 * products[i];
            order_[i] = {ordered(distance), i};
        }
        const auto probes = order_.begin() + std::min(o_.probes, count);
        if (probes != order_.end()) std::nth_element(order_.begin(), probes, order_.end());
        std::sort(order_.begin(), probes);
        order_.erase(probes, order_.end());
    }

    bool allowed(std::uint32_t slot) const {
        return o_.all || (slot / 8 < o_.allowed.size() && (o_.allowed[slot / 8] >> (slot % 8) & 1));
    }

    void scan(std::size_t q, const ListQuery& query, const float* products) {
        choose_lists(products);
        candidates_.clear();
        float limit = kNever;
        std::int32_t scanned = 0;
        for (std::size_t i = 0; i < order_.size(); ++i) {
            if (i + 1 < order_.size()) prefetch(lists_.lists_[order_[i + 1].slot]);
            const List& list = lists_.lists_[order_[i].slot];
            if (list.live == 0) continue;
            scanned += static_cast<std::int32_t>(list.entries());
            scan_list(query, order_[i].slot, products[order_[i].slot], limit);
            if (candidates_.size() > 2 * std::size_t{o_.candidates}) limit = cut(o_.candidates);
        }
        if (candidates_.size() > o_.candidates) cut(o_.candidates);
        found_.scanned[q] = scanned;
        finish_estimates(query);
        submit(q, query);
    }

    static void prefetch(const List& list) {
        const auto* p = reinterpret_cast<const std::uint8_t*>(list.codes.data());
        const std::size_t bytes = std::min<std::size_t>(list.codes.size() * kLine, 4096);
        for (std::size_t b = 0; b < bytes; b += kLine) __builtin_prefetch(p + b);
    }

    void scan_list(const ListQuery& query, std::uint32_t number, float product, float limit) {
        const List& list = lists_.lists_[number];
        const ListScan aimed = lists_.coder().aim(query, lists_.centroid(number), lists_.centroid_norm2_[number], product,
                                                  low_.data(), high_.data());
        if (estimates_.size() < list.entries() + kLanes) {
            estimates_.resize(list.entries() + kLanes);
            positions_.resize(list.entries() + kLanes);
        }
        const std::size_t near = list_kernels().scan(aimed, list.codes.data()->bytes, list.entries() / kLanes, limit,
                                                     estimates_.data(), positions_.data());
        const std::uint32_t high = number << kEntryBits;
        if (o_.all) {
            const std::size_t before = candidates_.size();
            candidates_.resize(before + near);
            for (std::size_t i = 0; i < near; ++i) candidates_[before + i] = {estimates_[i], high | positions_[i]};
            return;
        }
        for (std::size_t i = 0; i < near; ++i) {
            if (allowed(list.slots[positions_[i]])) candidates_.push_back({estimates_[i], high | positions_[i]});
        }
    }

    // Keeps the nearest and returns what others must be below.
    float cut(std::size_t count) {
        const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
        std::nth_element(candidates_.begin(), last - 1, candidates_.end());
        candidates_.erase(last, candidates_.end());
        return candidates_.back().estimate;
    }

    const List& list_of(std::uint32_t entry) const { return lists_.lists_[entry >> kEntryBits]; }
    static std::uint32_t place(std::uint32_t entry) { return entry & (kMostEntries - 1); }

    void finish_estimates(const ListQuery& query) {
        const std::size_t bytes = lists_.coder().tail_bytes();
        if (bytes == 0) return;
        constexpr std::size_t kAhead = 6;
        const auto tail = [&](const Candidate& c) { return list_of(c.entry).tails.data() + place(c.entry) * bytes; };
        for (std::size_t i = 0; i < candidates_.size(); ++i) {
            if (i + kAhead < candidates_.size()) {
                const std::uint8_t* ahead = tail(candidates_[i + kAhead]);
                for (std::size_t b = 0; b < bytes; b += kLine) __builtin_prefetch(ahead + b);
                __builtin_prefetch(list_of(candidates_[i + kAhead].entry).scales.data() + place(candidates_[i + kAhead].entry));
            }
            Candidate& c = candidates_[i];
            const float scale = from_bfloat16(list_of(c.entry).scales[place(c.entry)]);
            c.estimate = ordered(c.estimate - lists_.coder().tail_share(query, tail(c), scale));
        }
    }

    // How many candidates are read: the first k, and those that may yet belong there.
    std::size_t worth_reading(const ListQuery& query) {
        const std::size_t most = std::min<std::size_t>(o_.reads, candidates_.size());
        const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(most);
        std::partial_sort(candidates_.begin(), end, candidates_.end());
        const float spread = lists_.coder().spread(query);
        if (most <= o_.k || !(spread > 0)) return most;
        const auto error = [&](const Candidate& c) {
            return o_.spread * spread * from_bfloat16(list_of(c.entry).scales[place(c.entry)]);
        };
        const float bound = candidates_[o_.k - 1].estimate, own = error(candidates_[o_.k - 1]);
        std::size_t count = o_.k;
        for (std::size_t i = o_.k; i < most; ++i) {
            const float other = error(candidates_[i]);
            const float margin = o_.confidence * std::sqrt(own * own + other * other);
            if (candidates_[i].estimate - bound <= margin) candidates_[count++] = candidates_[i];
        }
        return count;
    }

    void submit(std::size_t q, const ListQuery& query) {
        if (!o_.exact) return give_estimates(q);
        candidates_.resize(worth_reading(query));
        found_.reads[q] = static_cast<std::int32_t>(candidates_.size());
        found_.trips[q] = candidates_.empty() ? 0 : 1;
        const std::size_t bytes = lists_.row_bytes();
        if (direct_) {
            Flight& flight = flights_[0];
            flight.query = q;
            flight.slots.clear();
            flight.at.clear();
            for (const Candidate& c : candidates_) {
                flight.slots.push_back(list_of(c.entry).slots[place(c.entry)]);
                flight.at.push_back(lists_.row_of(list_of(c.entry), place(c.entry)));
            }
            found_.bytes[q] = static_cast<std::int64_t>(flight.at.size() * bytes);
            return rank(flight, direct_, bytes);
        }
        if (flying_ == flights_.size()) land(true);
        take_off(q);
    }

    void take_off(std::size_t q) {
        const std::size_t bytes = lists_.row_bytes(), number = (oldest_ + flying_) % flights_.size();
        Flight& flight = flights_[number];
        flight.query = q;
        flight.slots.clear();
        flight.at.clear();
        rows_.clear();
        for (const Candidate& c : candidates_) {
            rows_.push_back({lists_.row_of(list_of(c.entry), place(c.entry)), list_of(c.entry).slots[place(c.entry)]});
        }
        std::sort(rows_.begin(), rows_.end());
        std::byte* zone = landing_ + number * zone_;
        reads_.clear();
        std::size_t used = 0;
        for (const auto& [row, slot] : rows_) {
            const std::uint64_t offset = std::uint64_t{row} * bytes;
            const bool joined = !reads_.empty() && offset - (reads_.back().offset + reads_.back().length) <= o_.gap;
            if (joined) {
                const auto longer = static_cast<std::uint32_t>(offset + bytes - reads_.back().offset);
                used += longer - reads_.back().length;
                reads_.back().length = longer;
            } else {
                reads_.push_back({offset, static_cast<std::uint32_t>(bytes), zone + used});
                used += bytes;
            }
            flight.slots.push_back(slot);
            starts_.resize(flight.slots.size());
            starts_[flight.slots.size() - 1] = used - bytes;
        }
        flight.at.assign(starts_.begin(), starts_.begin() + static_cast<std::ptrdiff_t>(flight.slots.size()));
        found_.bytes[q] = static_cast<std::int64_t>(used);
        flight.ticket = reads_.empty() ? 0 : tier_.submit(reads_);
        if (reads_.empty()) return rank(flight, zone, 1);
        ++flying_;
    }

    // Ranks what has arrived; `wait`: the oldest at any rate.
    void land(bool wait) {
        while (flying_ > 0) {
            Flight& flight = flights_[oldest_];
            if (wait) tier_.wait(flight.ticket);
            else if (!tier_.done(flight.ticket)) return;
            wait = false;
            rank(flight, landing_ + oldest_ * zone_, 1);
            oldest_ = (oldest_ + 1) % flights_.size();
            --flying_;
        }
    }

    void rank(const Flight& flight, const std::byte* base, std::size_t stride) {
        query_.set(queries_ + flight.query * lists_.row_bytes());
        exact_.resize(flight.slots.size());
        distances(query_, base, stride, flight.at.data(), flight.at.size(), exact_.data());
        nearest_.clear();
        for (std::size_t i = 0; i < exact_.size(); ++i) nearest_.push_back({ordered(exact_[i]), flight.slots[i]});
        give(flight.query);
    }

    void give_estimates(std::size_t q) {
        nearest_.clear();
        for (const Candidate& c : candidates_) nearest_.push_back({c.estimate, list_of(c.entry).slots[place(c.entry)]});
        found_.reads[q] = found_.trips[q] = 0;
        found_.bytes[q] = 0;
        give(q);
    }

    void give(std::size_t q) {
        const std::size_t count = std::min<std::size_t>(o_.k, nearest_.size());
        std::partial_sort(nearest_.begin(), nearest_.begin() + static_cast<std::ptrdiff_t>(count), nearest_.end());
        for (std::size_t i = 0; i < o_.k; ++i) {
            found_.slots[q * o_.k + i] = i < count ? std::int64_t{nearest_[i].slot} : -1;
            found_.distances[q * o_.k + i] = i < count ? nearest_[i].distance : kNever;
        }
    }

    const Lists& lists_;
    Tier& tier_;
    const std::byte* queries_;
    const ListSearch& o_;
    const ListFound& found_;
    SpaceQuery query_;
    const std::byte* direct_;
    std::byte* landing_ = nullptr;
    std::size_t zone_ = 0;
    std::vector<Flight> flights_;
    std::size_t oldest_ = 0, flying_ = 0;
    Turned turned_;
    std::vector<ListQuery> prepared_;
    std::vector<float> products_, estimates_, exact_;
    std::vector<std::uint32_t> positions_;
    std::vector<Nearest> order_, nearest_;
    std::vector<Candidate> candidates_;
    std::vector<std::int8_t> low_, high_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> rows_;
    std::vector<std::size_t> starts_;
    std::vector<TierRead> reads_;
};

void Lists::search(std::span<Tier* const> tiers, const std::byte* queries, std::size_t count, const ListSearch& options,
                   const ListFound& found) const {
    const std::size_t threads = std::clamp<std::size_t>(count / 4, 1, std::max<std::size_t>(1, tiers.size()));
    const std::size_t share = (count + threads - 1) / threads;
    std::vector<std::exception_ptr> failed(threads);
    const auto work = [&](std::size_t thread) {
        try {
            ListSearcher searcher(*this, *tiers[thread], queries, options, found);
            searcher.run(std::min(count, thread * share), std::min(count, (thread + 1) * share));
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

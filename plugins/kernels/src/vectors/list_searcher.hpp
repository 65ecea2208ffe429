#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {

// A query and where its answer goes. What it points to stays until it is finished.
struct ListAsk {
    const std::byte* query = nullptr;
    const ListSearch* options = nullptr;
    const ListFound* found = nullptr;
    std::size_t at = 0;       // row of `found`
    bool later = false;       // of many: gives way to those that came alone
    void* owner = nullptr;
};

// One thread's search: a machine whose states are the queries under way. A query is scanned, its reads are submitted, and
// the next one is scanned meanwhile; what has arrived is ranked. Queries join at any time. A scan that takes long goes on
// in pieces behind the others. While queries are under way the index does not change; where a change waits, no query
// begins before it was let in.
class ListSearcher {
public:
    using Ask = ListAsk;

    // `most_reads`: of any query that will come.
    ListSearcher(const Lists& lists, Tier& tier, std::size_t in_flight, std::size_t most_reads, std::size_t gap);
    ~ListSearcher();

    // How many more queries may be admitted now: those that come alone, or those of many.
    std::size_t room(bool later) const;
    void admit(std::span<const ListAsk> asks);
    bool scanning() const { return !ready_[0].empty() || !ready_[1].empty(); }
    bool idle() const { return !scanning() && flying_.empty(); }
    // One piece of work; `wait`: for the tier where there is nothing else to do. Returns whether anything was done, and
    // adds what is finished to `finished`.
    bool step(bool wait, std::vector<ListAsk>& finished);
    // Forgets all queries under way.
    void abandon();

private:
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
    struct Probe {
        float distance;
        std::uint32_t list;
        float product;

        bool operator<(const Probe& other) const {
            return distance != other.distance ? distance < other.distance : list < other.list;
        }
    };
    // A query before its reads.
    struct Scan {
        ListAsk ask;
        ListQuery query;
        std::vector<float> products;  // of the centroids
        std::vector<Probe> order;
        std::vector<std::uint64_t> probed;  // bitmap of lists, where some hold copies
        std::vector<Candidate> candidates;
        std::size_t next = 0;  // of order
        float limit = 0;
        std::int32_t scanned = 0;
        bool begun = false;

        bool probes(std::uint32_t list) const { return (probed[list / 64] >> list % 64 & 1) != 0; }
    };
    // A query whose exact vectors are on their way.
    struct Flight {
        ListAsk ask;
        std::uint64_t ticket = 0;
        std::vector<std::uint32_t> slots;
        std::vector<std::uint32_t> at;  // rows of the region, or of this flight's part of the landing zone, by unit
    };

    std::unique_ptr<Scan> taken();
    bool scan(Scan& scan);
    void begin(Scan& scan);
    void choose_lists(Scan& scan);
    void scan_list(Scan& scan, const Probe& probe);
    std::size_t near(const ListScan& aimed, const std::vector<CodeLine>& codes, std::uint32_t entries, float limit);
    void scan_home(Scan& scan, const ListScan& aimed, std::uint32_t list);
    void scan_copies(Scan& scan, const ListScan& aimed, std::uint32_t list);
    float cut(Scan& scan, std::size_t count);
    void finish_estimates(Scan& scan) const;
    std::size_t worth_reading(Scan& scan) const;
    void submit(Scan& scan, std::vector<ListAsk>& finished);
    void rank_in_place(Scan& scan);
    void take_off(Scan& scan, std::vector<ListAsk>& finished);
    bool land(std::size_t most, std::vector<ListAsk>& finished);
    void land_oldest(std::vector<ListAsk>& finished);
    void rank(const Flight& flight, const std::byte* base, std::size_t stride);
    void give_estimates(Scan& scan);
    void give(const ListAsk& ask);
    void retire(std::unique_ptr<Scan> scan);

    const List& list_of(std::uint32_t entry) const { return lists_.lists_[entry >> kEntryBits]; }
    static std::uint32_t place(std::uint32_t entry) { return entry & (kMostEntries - 1); }

    const Lists& lists_;
    Tier& tier_;
    std::size_t gap_;
    SpaceQuery query_;
    const std::byte* direct_;
    std::byte* landing_ = nullptr;
    std::size_t zone_ = 0;
    std::optional<Lists::Reading> reading_;
    std::deque<std::unique_ptr<Scan>> ready_[2];  // that came alone; of many, and what takes long
    std::vector<std::unique_ptr<Scan>> spare_;
    std::vector<Flight> flights_;
    std::vector<std::uint32_t> flying_, grounded_;  // numbers of flights, the oldest first
    std::size_t turns_ = 0;
    Turned turned_;
    std::vector<std::byte> together_;
    std::vector<ListQuery> prepared_;
    std::vector<float> products_, estimates_, exact_, values_;
    std::vector<Candidate> level_;  // as near as the last that is kept
    std::vector<std::uint32_t> positions_;
    std::vector<Nearest> nearest_;
    std::vector<std::int8_t> low_, high_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> rows_;
    std::vector<TierRead> reads_;
};

}  // namespace fairlead::vectors

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stdexcept>
#include <vector>

#include "fairlead/vectors/list_coder.hpp"
#include "fairlead/vectors/row_space.hpp"
#include "fairlead/vectors/tier.hpp"

namespace fairlead::vectors {

inline constexpr std::uint32_t kNoSlot = 0xFFFFFFFFU;  // an entry that is free and has a row
inline constexpr std::uint32_t kNoRow = 0xFFFFFFFEU;   // one that has no row either
inline constexpr std::uint32_t kEntryBits = 14;        // of a list's entries
inline constexpr std::uint32_t kMostEntries = 1U << kEntryBits;
inline constexpr std::uint32_t kMostLists = 1U << (32 - kEntryBits);

// The region has no rows left; nothing was changed by the vector that found none.
class TierFull : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct alignas(kLine) CodeLine {
    std::uint8_t bytes[kLine];
};

// Which further lists a vector is entered in, by its leading codes alone: its row and its tail stay in one place. A near
// list is taken unless one that the vector is in already lies in about the same direction: the closure of SPANN (Chen et
// al., 2021, section 3.2.2), whose pruning is that of relative neighbourhood graphs, with a factor as Vamana has it.
struct Closure {
    std::uint32_t copies = 0;  // further lists of a vector at most
    float apart = 1.5F;        // two lists of a vector: squared distance, times this, of that to the further one at least
    float near = 2.0F;         // squared distance of a further list's centroid, relative to the own list's
    std::uint32_t room = kMostEntries;  // copies of a list at most, so that none grows too long
};

// Entries of a list whose vectors are at home elsewhere: blocks of 16 leading codes, relative to this list's centroid.
struct Copies {
    std::vector<CodeLine> codes;
    std::vector<std::uint32_t> slots;  // an entry, or kNoSlot
    std::vector<std::uint32_t> next;   // the vector's next copy: list and entry, ascending, or kNoSlot
    std::uint32_t live = 0;

    std::uint32_t entries() const { return static_cast<std::uint32_t>(slots.size()); }
};

// One cluster: blocks of 16 entries. The vectors of a block lie in the tier in rows one behind the other, so that what
// is near lies near, each vector once: of all groupings with one copy the one of fewest reads (greedy by the hottest
// cluster that contains it).
struct List {
    std::vector<CodeLine> codes;
    std::vector<std::uint32_t> slots;      // an entry, or kNoSlot, kNoRow
    std::vector<std::uint8_t> tails;       // [entries, tail_bytes], and kLine more
    std::vector<std::uint16_t> scales;     // bfloat16
    std::vector<std::uint32_t> first_row;  // of a block
    std::uint32_t live = 0;
    std::uint32_t free = 0;  // entries that have a row
    bool dissolved = false;
    Copies copies;

    std::uint32_t entries() const { return static_cast<std::uint32_t>(slots.size()); }
};

struct ListSearch {
    std::uint32_t k = 10;
    std::uint32_t probes = 16;       // lists of a query
    std::uint32_t candidates = 256;  // whose tails are looked at
    std::uint32_t reads = 15;        // exact vectors of a query at most, k at least
    float confidence = 2.0F;         // a candidate is read unless it lies so many standard errors behind the k-th
    float spread = 1.0F;             // standard errors of the other parts of an estimate, relative to the tail's
    std::uint32_t in_flight = 32;    // queries of a thread that wait for the tier
    std::uint32_t gap = 0;           // bytes between two vectors that are rather read too than skipped
    bool exact = true;               // false: estimates are good enough, nothing is read
    std::span<const std::uint8_t> allowed;  // bitmap of slots; empty: all, if `all` says so
    bool all = true;
};

struct ListFound {
    std::int64_t* slots;    // [queries, k]
    float* distances;       // [queries, k]
    std::int32_t* reads;    // [queries]
    std::int32_t* trips;    // [queries]
    std::int64_t* bytes;    // [queries]
    std::int32_t* scanned;  // [queries]: codes
};

// Clusters whose codes are in memory and whose exact vectors are in a tier. Searches may run beside one another; changes
// wait for the queries in flight and hold up new ones meanwhile.
class Lists {
public:
    // centroids: [count, coder.lead()].
    Lists(ListTraining training, std::vector<float> centroids, const Closure& closure = {});

    const ListCoder& coder() const { return coder_; }
    std::size_t row_bytes() const { return coder_.space().bytes(); }
    std::uint32_t lists() const { return static_cast<std::uint32_t>(lists_.size()); }
    std::uint64_t live() const { return live_.load(std::memory_order_relaxed); }
    std::uint32_t rows() const { return rows_.end(); }
    std::uint64_t free_rows() const { return rows_.free_rows(); }
    // Further entries of vectors, of all lists.
    std::uint32_t most_lists() const { return 1 + closure_.copies; }  // of a vector
    std::uint64_t copies() const { return copied_.load(std::memory_order_relaxed); }
    std::uint64_t dram_bytes() const;
    std::vector<std::uint32_t> sizes() const;

    // The nearest list of each vector, and its place along the list's own main direction.
    void assign(const std::byte* vectors, std::size_t count, std::uint32_t* lists, float* order) const;
    // The lists [count, 1 + copies] of each vector, its own first, as if all had room; kNoSlot behind the last.
    void closure(const std::byte* vectors, std::size_t count, std::uint32_t* lists) const;
    // Adds vectors whose slots are not there. With `lists` they go there (a build's order: by list), else to the nearest.
    void add(Tier& tier, const std::uint32_t* slots, const std::byte* vectors, std::size_t count,
             const std::uint32_t* lists);
    // Returns how many were there.
    std::size_t remove(const std::uint32_t* slots, std::size_t count);
    bool has(std::uint32_t slot) const;
    // Exact vectors [count, row_bytes]. Throws std::out_of_range for a slot that is not there.
    void vectors(Tier& tier, const std::uint32_t* slots, std::size_t count, std::byte* out) const;
    // Does one piece of work on lists that have grown to more than twice `target`, shrunk below an eighth of it, or hold
    // many free entries; false: there is none.
    bool maintain(Tier& tier, std::uint32_t target);
    // Lists that maintain() would work on.
    std::size_t wanting(std::uint32_t target) const;

    // Whether someone waits to change the index, or does.
    bool change_waits() const { return changes_.load(std::memory_order_relaxed) > 0; }

    // Queries are in the space's elements; one thread a tier.
    void search(std::span<Tier* const> tiers, const std::byte* queries, std::size_t count, const ListSearch& options,
                const ListFound& found) const;

    // What is saved: plain arrays. `adopt` takes them into an index without vectors and throws std::invalid_argument
    // for what no index can have written.
    struct Saved {
        std::vector<float> centroids;
        std::vector<std::uint8_t> dissolved;
        std::vector<std::uint32_t> blocks;  // of each list
        std::vector<std::uint8_t> codes;
        std::vector<std::uint32_t> slots;
        std::vector<std::uint8_t> tails;
        std::vector<std::uint16_t> scales;
        std::vector<std::uint32_t> first_row;
        std::vector<std::uint32_t> copy_blocks;  // of each list; none of an index without copies
        std::vector<std::uint8_t> copy_codes;
        std::vector<std::uint32_t> copy_slots;
    };
    Saved saved() const;
    void adopt(const Saved& saved);

private:
    friend class ListSearcher;
    struct Entry {
        std::uint32_t list, at;
    };
    class Reading {
    public:
        explicit Reading(const Lists& lists);

    private:
        std::shared_lock<std::shared_mutex> lock_;
    };
    class Writing {
    public:
        explicit Writing(const Lists& lists);

    private:
        struct Waiting {
            explicit Waiting(std::atomic<int>& count) : count_(count) { ++count_; }
            ~Waiting() { --count_; }
            std::atomic<int>& count_;
        };

        Waiting waiting_;
        std::lock_guard<std::mutex> turn_;
        std::lock_guard<std::shared_mutex> lock_;
    };

    const float* centroid(std::uint32_t list) const { return centroids_.data() + std::size_t{list} * coder_.lead(); }
    std::uint32_t row_of(const List& list, std::uint32_t at) const {
        return list.first_row[at / kLanes] + static_cast<std::uint32_t>(at % kLanes);
    }
    bool find(std::uint32_t slot, Entry& entry) const;
    void read_rows(Tier& tier, std::span<const std::uint32_t> slots, std::byte* out) const;
    void set_centroid(std::uint32_t list, const float* values);
    std::uint32_t nearest(const float* lead) const;
    void append_block(List& list, std::uint32_t rows, std::uint32_t limit);
    void reserve(List& list, std::size_t entries);
    static void trim(List& list);
    static void trim(Copies& copies);
    std::uint32_t free_entry(List& list);
    // The entry of a vector that counts, if it is found in this one: the first of those whose lists are probed.
    template <class Probed>
    bool counts(std::uint32_t slot, std::uint32_t copy, const Probed& probed) const {
        if (probed(entry_of_[slot] >> kEntryBits)) return false;
        for (std::uint32_t at = copy_of_[slot]; at != copy; at = next_copy(at)) {
            if (probed(at >> kEntryBits)) return false;
        }
        return true;
    }
    std::uint32_t& next_copy(std::uint32_t copy) { return lists_[copy >> kEntryBits].copies.next[copy & (kMostEntries - 1)]; }
    std::uint32_t next_copy(std::uint32_t copy) const {
        return lists_[copy >> kEntryBits].copies.next[copy & (kMostEntries - 1)];
    }
    void encode_into(std::uint8_t* block, std::size_t lane, const Turned& turned, std::size_t i, std::uint32_t list);
    void further(const float* lead, std::uint32_t own, bool any, std::vector<std::uint32_t>& lists) const;
    void enter_copies(std::uint32_t slot, std::uint32_t own, const Turned& turned, std::size_t i);
    std::uint32_t free_copy(Copies& copies) const;
    void link(std::uint32_t slot, std::uint32_t copy);
    void drop_copies(std::uint32_t slot);
    void pack_copies(std::uint32_t list);
    void adopt_copies(const Saved& saved);
    // Vectors of other lists that have a copy in this one.
    struct Guests {
        std::vector<std::uint32_t> slots;
        std::vector<std::byte> bytes;
    };
    Guests guests(Tier& tier, std::uint32_t list) const;
    // Drops all of their copies, as the list is about to change; enters them anew where they belong then.
    void leave(std::uint32_t list, const Guests& guests);
    void enter_anew(const Guests& guests);
    void put(std::uint32_t list, std::uint32_t at, std::uint32_t slot, const Turned& turned, std::size_t i);
    void add_to(Tier& tier, std::uint32_t list, std::span<const std::uint32_t> slots, const std::byte* vectors,
                const Turned& turned, std::size_t first, bool dense);
    void clear_entry(std::vector<CodeLine>& codes, std::uint32_t at) const;
    // Takes all vectors out of a list, whose rows are free then.
    std::vector<std::byte> empty(Tier& tier, std::uint32_t list, std::vector<std::uint32_t>& slots);
    void split(Tier& tier, std::uint32_t list);
    void dissolve(Tier& tier, std::uint32_t list);
    void repack(Tier& tier, std::uint32_t list);
    int work_of(std::uint32_t list, std::uint32_t target) const;
    std::uint32_t limit(const Tier& tier) const;
    void add_locked(Tier& tier, const std::uint32_t* slots, const std::byte* vectors, std::size_t count,
                    const std::uint32_t* lists, bool dense);

    ListCoder coder_;
    std::vector<float> centroids_;
    std::vector<float> centroid_norm2_;  // infinite: dissolved
    std::vector<List> lists_;
    std::vector<std::uint32_t> entry_of_;  // by slot: list and entry, or kNoSlot
    RowSpace rows_;
    Closure closure_;
    std::vector<std::uint32_t> copy_of_;  // by slot: its first copy, or kNoSlot; none without closure
    std::atomic<std::uint64_t> live_{0}, copied_{0};
    mutable std::mutex turn_;
    mutable std::shared_mutex lock_;
    mutable std::atomic<int> changes_{0};
};

}  // namespace fairlead::vectors

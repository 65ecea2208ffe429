#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "fairlead/vectors/fair_mutex.hpp"
#include "fairlead/vectors/graph.hpp"
#include "fairlead/vectors/tier.hpp"
#include "fairlead/vectors/tier_graph_layout.hpp"

namespace fairlead::vectors {

class GraphPruner;

struct TierGraphSettings {
    std::uint32_t beam = 96;  // of the searches that find a new vertex's candidates
    float alpha = 1.1F;       // of the pruning
    std::uint32_t entries = 256;
    std::uint64_t seed = 0;
};

struct TierGraphSearch {
    std::uint32_t k = 10;
    std::uint32_t beam = 32;
    std::uint32_t rerank = 32;    // candidates whose vectors are compared, k at least
    std::uint32_t width = 4;      // vertices of a query that are asked for together
    std::uint32_t in_flight = 32;  // queries of a thread that are under way
    std::span<const std::uint8_t> allowed;  // bitmap of slots; empty: all, if `all` says so
    bool all = true;
    bool scan = false;  // score the codes of all that are allowed in place of a walk
    bool exact = true;  // false: estimates are good enough, nothing is read; scans only
};

struct TierGraphFound {
    std::int64_t* slots;   // [queries, k], -1 where fewer
    float* distances;      // [queries, k]
    std::int32_t* reads;   // [queries]: of the tier
    std::int32_t* trips;   // [queries]: batches of reads, one after the other
    std::int32_t* hops;    // [queries]: vertices expanded
    std::int64_t* bytes;   // [queries]: read from the tier
};

// A graph whose edges and vectors lie in a tier and whose codes are in memory (DiskANN, Subramanya et al. 2019, without
// the padding to a disk's blocks). A walk asks for the records of the nearest few vertices of its beam together; while
// they come, the thread works on other queries. Records that most walks read are kept in memory too.
//
// Any number of threads may search, each by its own tier object, and any may change it: changes come one after the
// other, and wait for the queries under way only while they write what they have computed.
class TierGraph {
public:
    static constexpr std::uint32_t kNone = Graph::kNone;

    TierGraph(WalkEncoder encoder, const TierGraphSettings& settings, const TierGraphLayout& layout);

    const WalkEncoder& encoder() const { return encoder_; }
    const TierGraphLayout& layout() const { return layout_; }
    // Vertices with a place, those removed among them.
    std::size_t vertices() const { return slot_of_.size(); }
    std::size_t live() const { return live_.load(std::memory_order_relaxed); }
    std::size_t removed() const { return removed_.size() + leaving_.size(); }
    std::size_t dram_bytes() const;
    // Of the region, from its start.
    std::uint64_t tier_bytes() const { return layout_.bytes(vertices()); }

    // What is in memory, [vertices] each.
    struct State {
        std::vector<std::uint32_t> slots;  // kNone: removed or free
        std::vector<std::uint8_t> codes;   // [vertices, code bytes]
        std::vector<std::uint32_t> removed, entries, cached;
    };
    State save() const;
    // Takes the place of an empty graph; the records of what is cached are read by `keep`. std::invalid_argument names
    // what is wrong.
    void restore(const State& state);
    // Writes the records of vertices [first, first + count): edges [count, degree], where a vertex that leads to itself
    // has no more, and vectors. `first` begins a group; nothing may search yet.
    void fill(Tier& tier, std::uint32_t first, std::size_t count, const std::uint32_t* edges, const std::byte* vectors);
    // Keeps the records of these vertices in memory, in place of those kept before.
    void keep(Tier& tier, std::span<const std::uint32_t> vertices);

    // Queries are in the space's elements; one thread a tier.
    void search(std::span<Tier* const> tiers, const std::byte* queries, std::size_t count, const TierGraphSearch& options,
                const TierGraphFound& found) const;
    // Codes of queries as walks take them, [count, code bytes].
    void walked(const std::byte* queries, std::size_t count, std::int8_t* out) const;

    // Adds vectors whose slots are not there, writing their records and those of their neighbours. Where the tier fails
    // or has no room (TierFull) those before are in.
    void insert(Tier& tier, std::span<const std::uint32_t> slots, const std::byte* vectors);
    // Found no more; searches still walk through them. Returns how many were there.
    std::size_t remove(std::span<const std::uint32_t> slots);
    // Links around removed vertices, of up to `most` vertices' edges, and goes on from there when it is called again;
    // true when nothing is left to do.
    bool consolidate(Tier& tier, std::size_t most = SIZE_MAX);
    // Exact vectors [count]. std::out_of_range for a slot that is not there.
    void vectors(Tier& tier, std::span<const std::uint32_t> slots, std::byte* out) const;
    // Neighbours of a vertex, as its record has them.
    std::vector<std::uint32_t> neighbours(Tier& tier, std::uint32_t vertex) const;

    std::uint32_t slot_of(std::uint32_t vertex) const {
        return std::atomic_ref(const_cast<std::uint32_t&>(slot_of_[vertex])).load(std::memory_order_relaxed);
    }
    std::uint32_t vertex_of(std::uint32_t slot) const { return slot < vertex_of_.size() ? vertex_of_[slot] : kNone; }
    const std::vector<std::uint32_t>& entries() const { return entries_; }

private:
    friend class TierGraphPassage;
    friend class TierGraphSearcher;

    struct Changed {
        std::uint32_t vertex;
        std::vector<std::uint32_t> neighbours;
    };

    void reserve(std::size_t vertices);
    void check_new(std::span<const std::uint32_t> slots) const;
    void set_entries(std::vector<std::uint32_t> vertices);
    // What is read of a vertex on a walk, where it is kept in memory; else null.
    std::byte* kept(std::uint32_t vertex) const;
    // Of a query: squared distances from the codes' center and from zero.
    struct Lengths {
        float from_center, squared;
    };
    Lengths lengths(const std::byte* query) const;
    // Vertices of the slots that are allowed.
    std::vector<std::uint32_t> passing(const TierGraphSearch& options) const;
    bool is_gone(std::uint32_t vertex) const { return slot_of(vertex) == kNone; }
    void set_slot(std::uint32_t vertex, std::uint32_t slot) {
        std::atomic_ref(slot_of_[vertex]).store(slot, std::memory_order_relaxed);
    }
    std::uint32_t take_place(std::uint64_t room);
    void insert_one(Tier& tier, std::uint32_t slot, std::uint32_t vertex, const std::byte* vector);
    // Vertices that a walk to a vertex's code expands, those removed left out.
    std::vector<std::uint32_t> trail(Tier& tier, std::uint32_t vertex) const;
    std::vector<std::vector<std::uint32_t>> read_edges(Tier& tier, std::span<const std::uint32_t> vertices) const;
    void write_edges(Tier& tier, const Changed& changed);
    void write_record(Tier& tier, std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours,
                      const std::byte* vector);
    std::vector<std::uint32_t> padded(std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours) const;
    std::vector<std::uint32_t> renewed_entries() const;
    // New edges of those of the vertices [first, last) that lead to removed ones.
    std::vector<Changed> bridged(Tier& tier, GraphPruner& pruner, std::size_t first, std::size_t last) const;

    WalkEncoder encoder_;
    TierGraphSettings settings_;
    TierGraphLayout layout_;
    HugeBuffer codes_;
    std::unique_ptr<GraphRows> leading_;
    std::vector<std::uint32_t> slot_of_, vertex_of_;
    std::vector<std::uint32_t> removed_, free_;
    std::vector<std::uint32_t> leaving_;  // removed; edges lead to them only from vertices at or behind looked_at_
    std::size_t looked_at_ = 0;
    std::vector<std::uint32_t> entries_;
    HugeBuffer entry_codes_;
    std::unordered_map<std::uint32_t, std::uint32_t> kept_at_;  // a vertex's place in records_
    std::vector<std::uint64_t> is_kept_;                        // a bit a vertex
    HugeBuffer records_;
    std::atomic<std::size_t> live_ = 0;
    std::size_t room_ = 0;
    mutable FairMutex changing_;
    mutable std::mutex writing_;  // held by whoever changes anything but `remove`: it reads without the other
};

}  // namespace fairlead::vectors

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "fairlead/vectors/fair_mutex.hpp"
#include "fairlead/vectors/graph_rows.hpp"
#include "fairlead/vectors/huge_buffer.hpp"
#include "fairlead/vectors/walk_codes.hpp"

namespace fairlead::vectors {

struct GraphSettings {
    std::uint32_t degree = 32;  // neighbours of a vertex, a multiple of 16
    std::uint32_t beam = 64;    // of the searches that find a new vertex's candidates
    float alpha = 1.2F;         // of the pruning, for squared distances
    std::uint32_t slack = 32;   // further places of a row while the graph is built, a multiple of 16
    std::uint32_t entries = 256;
    std::uint64_t seed = 0;
};

struct GraphQueries {
    const std::byte* vectors = nullptr;  // [count] of the space
    std::size_t count = 0;
    std::size_t k = 10;
    std::size_t beam = 32;
    std::size_t rerank = 32;
    std::size_t in_flight = 3;  // queries that a thread walks with by turns
    std::size_t threads = 1;
    const std::uint8_t* allowed = nullptr;  // a bit a slot; null: all may be found
    std::size_t allowed_bytes = 0;
    bool scan = false;  // score all that are allowed in place of a walk
};

struct GraphAnswers {
    std::int64_t* slots;    // [count, k], -1 where fewer
    float* distances;       // [count, k]
    std::uint32_t* hops;    // [count]: vertices expanded
    std::uint32_t* scored;  // [count]: walk codes read
};

struct GraphFilter;

// Answers false to stop.
using GraphProgress = std::function<bool(std::size_t done, std::size_t total)>;

// What a graph is made of, [vertices] each: as `save` copies it and `restore` takes it.
struct GraphState {
    std::vector<std::uint32_t> slots;  // 2^32 - 1: removed or free
    std::vector<std::uint32_t> edges;  // [vertices, degree]
    std::vector<std::uint8_t> codes;   // [vertices, code bytes]
    std::vector<std::uint8_t> rows;    // [vertices, stride of the rows]
    std::vector<float> more;
    std::vector<std::uint32_t> removed, entries;
};

// Vamana (Subramanya et al. 2019) in memory: built in batches of doubling size that see the graph as it was before
// the batch (ParlayANN, Manohar et al. 2024), so that edges depend on neither threads nor time; changed in place as in
// FreshDiskANN (Singh et al. 2021). Vertices are walked by their codes and re-ranked by their rows. Any number of
// threads may search and any may change it: changes come one after the other (removals do not wait for those that compute),
// and keep searches waiting only while they write down what they have computed.
class Graph {
public:
    static constexpr std::uint32_t kNone = 0xFFFFFFFFU;

    // `exact`: rows are the vectors themselves, else codes of all coordinates.
    Graph(WalkEncoder encoder, const GraphSettings& settings, bool exact);

    const WalkEncoder& encoder() const { return encoder_; }
    const GraphSettings& settings() const { return settings_; }
    const GraphRows& rows() const { return *rows_; }
    bool exact() const { return exact_; }
    // Vertices with a place, those removed among them.
    std::size_t vertices() const { return slot_of_.size(); }
    std::size_t live() const { return live_; }
    std::size_t removed() const { return removed_.size() + leaving_.size(); }
    std::size_t bytes() const;
    // Of one more vertex.
    std::size_t vertex_bytes() const;

    void reserve(std::size_t vertices);
    // Adds vectors without edges and returns their vertices; std::invalid_argument for a slot that is there.
    std::vector<std::uint32_t> append(std::span<const std::uint32_t> slots, const std::byte* vectors);
    // Links all vertices anew; false when progress said stop.
    bool build(std::size_t threads, const GraphProgress& progress);
    // Adds vectors to the graph; searches find them when it returns.
    void insert(std::span<const std::uint32_t> slots, const std::byte* vectors, std::size_t threads);
    // Found no more; searches still walk through them. Returns how many were there.
    std::size_t remove(std::span<const std::uint32_t> slots);
    // Gives the neighbours of removed vertices edges around them and then their places free. Looks at up to `most`
    // vertices and goes on from there when it is called again; true when nothing is left to do.
    bool consolidate(std::size_t threads, std::size_t most = SIZE_MAX);
    void search(const GraphQueries& queries, const GraphAnswers& answers) const;
    GraphState save() const;
    // Takes the place of an empty graph; std::invalid_argument names what is wrong.
    void restore(const GraphState& state);

    std::uint32_t slot_of(std::uint32_t vertex) const {
        return std::atomic_ref(const_cast<std::uint32_t&>(slot_of_[vertex])).load(std::memory_order_relaxed);
    }
    // kNone where the slot is not there.
    std::uint32_t vertex_of(std::uint32_t slot) const { return slot < vertex_of_.size() ? vertex_of_[slot] : kNone; }
    const std::uint32_t* neighbours(std::uint32_t vertex) const {
        return edges_.as<std::uint32_t>() + static_cast<std::size_t>(vertex) * width_;
    }
    const std::vector<std::uint32_t>& entries() const { return entries_; }
    const std::byte* row(std::uint32_t vertex) const { return rows_->row(vertex); }

private:
    friend class GraphBuilder;
    friend class GraphSearcher;
    friend class GraphWalk;

    // Codes of vectors that have no vertices yet.
    struct Encoded {
        std::vector<std::uint8_t> codes, rows;
        std::vector<float> more;
    };

    GraphFilter filter_of(const GraphQueries& queries) const;
    Encoded encoded(const std::byte* vectors, std::size_t count) const;
    void check_new(std::span<const std::uint32_t> slots) const;
    std::uint32_t place(std::uint32_t slot);
    std::vector<std::uint32_t> place_all(std::span<const std::uint32_t> slots, const std::byte* vectors);
    void clear_row(std::uint32_t vertex);
    void set_entries(std::vector<std::uint32_t> vertices);
    // Those entries that are still there, and others in the place of the rest.
    std::vector<std::uint32_t> renewed_entries() const;
    // Entries, and the first vertex of each part that no walk from them would reach.
    std::vector<std::uint32_t> connected(std::vector<std::uint32_t> entries) const;

    WalkEncoder encoder_;
    GraphSettings settings_;
    bool exact_;
    std::unique_ptr<GraphRows> rows_;
    std::unique_ptr<GraphRows> leading_;
    HugeBuffer codes_;
    HugeBuffer edges_;  // [vertices, width]; places without an edge hold the vertex itself
    std::vector<std::uint32_t> slot_of_, vertex_of_;
    std::vector<std::uint32_t> removed_, free_;
    std::vector<std::uint32_t> leaving_;  // removed; edges lead to them only from vertices at or behind looked_at_
    std::size_t looked_at_ = 0;
    std::vector<std::uint32_t> entries_;
    HugeBuffer entry_codes_;
    std::uint32_t width_;  // places of a row
    std::atomic<std::size_t> live_ = 0;
    std::size_t room_ = 0;
    mutable FairMutex changing_;
    mutable std::mutex writing_;  // held by whoever changes anything but `remove`: it reads without the other
};

}  // namespace fairlead::vectors

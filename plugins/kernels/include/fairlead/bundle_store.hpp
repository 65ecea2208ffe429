#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fairlead/cluster_reader.hpp"
#include "fairlead/neuron_cache.hpp"
#include "fairlead/packed.hpp"
#include "fairlead/work.hpp"

namespace fairlead {

// One feed-forward network in a bundle file: where its clusters begin, its neurons, and how many of the first ones
// (the most often active) are hot.
struct BundleNetwork {
    std::uint64_t offset = 0;
    std::size_t neurons = 0;
    std::size_t hot = 0;
};

// How bundles lie in the file, and what of them a slot of memory holds.
struct BundleShape {
    std::size_t hidden = 0;
    int bits = 4;
    std::size_t cluster_neurons = 1;
    std::size_t cluster_bytes = 0;
    // Gate rows stay in memory elsewhere: slots hold the other rows only.
    bool resident_gates = false;
    // Rows of a bundle: gate, up and down, or gate and down of a network without gate (OPT), whose first matrix is
    // called so.
    std::size_t matrices = 3;
    std::vector<BundleNetwork> networks;

    std::size_t row_bytes() const { return PackedView{nullptr, 0, hidden, 0, bits}.row_bytes(); }
    std::size_t stride() const { return cluster_bytes / cluster_neurons; }
    std::size_t slot_stride() const { return (matrices - (resident_gates ? 1 : 0)) * row_bytes(); }
    std::size_t slot_bytes() const { return cluster_neurons * slot_stride(); }
    // Blocks that a first read takes, and the first block of what is read once the gate is known not to be zero.
    std::size_t first_bytes() const;
    std::size_t rest_begin() const;
    bool two_phases() const { return !resident_gates && first_bytes() < cluster_bytes; }
    std::size_t clusters(std::size_t network) const;
    // Slots that hold every cluster, and bytes of the down rows of the largest network.
    std::size_t slots() const;
    std::size_t pass_row_bytes() const;
};

struct StoreOptions {
    std::size_t slots = 0;
    std::size_t hot_slots = 0;
    // Clusters of a hot group, and of what a prompt reads at once.
    std::size_t group = 64;
    // The most neighbours that are read at once where several of them are missing.
    std::size_t run = 16;
    std::size_t depth = 32;
    std::size_t threads = 4;
    bool direct = true;
    bool uring = true;
    std::vector<FileRange> broken;  // as a reader has them
};

enum class Part : std::size_t { gate = 0, up = 1, down = 2 };

// Slots of memory that hold neurons of a bundle file, and the reads that fill them. Used by one thread at a time.
//
// A layer claims the clusters it needs, starts the reads of what is missing, computes what is there, collects
// arrivals until nothing is pending, and finishes. Of a read that fails, what a layer has claimed is read again alone,
// so that a bad block fails only who needs it (a prompt needs all). Whoever sees a ReadError must abandon():
// what was being read is forgotten, and the store goes on.
class BundleStore {
public:
    using Item = NeuronCache::Item;
    using Slot = NeuronCache::Slot;

    // Throws std::invalid_argument for a shape that does not fit, ReadError for the file.
    BundleStore(std::string path, BundleShape shape, StoreOptions options);
    ~BundleStore();
    BundleStore(const BundleStore&) = delete;
    BundleStore& operator=(const BundleStore&) = delete;

    const BundleShape& shape() const { return shape_; }
    const StoreOptions& options() const { return options_; }
    const NeuronCache& cache() const { return cache_; }
    const ClusterReader& reader() const { return reader_; }
    std::size_t total_slots() const { return total_slots_; }
    // Slots whose memory the store may use: all of them, and what prompts need beside them, at most.
    std::size_t granted() const { return granted_; }
    std::size_t most_slots() const { return total_slots_ + pass_slots_; }
    Item item(std::size_t network, std::size_t cluster) const;

    // Row slot * cluster_neurons + j of the view is that of bundle j in the slot. No gate rows where they are resident, no
    // up rows of two matrices.
    PackedView rows(Part part) const;

    // A slot for a cluster, held until finish(), or kNone where there is no room before others are let go.
    Slot claim(Item item);
    // Fetch what a claim will need, far ahead and then near.
    void expect(Item item) const { cache_.expect(item); }
    void expect_entry(Item item) const {
        cache_.expect_entry(item);
        const Slot slot = cache_.peek(item);
        if (slot != NeuronCache::kNone) __builtin_prefetch(&stage_[static_cast<std::size_t>(slot)]);
    }
    // Asks for a cluster that may be needed; false where it is there or there is no room.
    bool guess(Item item);
    // Whether a slot was filled by a guess and not claimed since; forgets that.
    bool take_guess(Slot slot);
    // Clusters that guesses asked for, and those of them that were claimed.
    std::uint64_t guesses() const { return guesses_; }
    std::uint64_t confirmed() const { return confirmed_; }
    // Reads that wait for a buffer.
    bool queued() const { return queued_ < queue_.size(); }
    // Whether a slot has its gate rows (or needs none), and whether it has everything.
    bool has_first(Slot slot) const { return stage_[static_cast<std::size_t>(slot)] >= Stage::first; }
    bool whole(Slot slot) const { return stage_[static_cast<std::size_t>(slot)] == Stage::whole; }
    // Asks for the rest of a slot of which only the first blocks were read.
    void demand_rest(Slot slot);
    // Hands the reads of what was claimed or demanded to the reader.
    void start();
    // Appends slots that have arrived, after waiting for one where `wait`. False when nothing was pending.
    bool collect(bool wait, std::vector<Slot>& arrived);
    void finish() { cache_.release(); }
    void abandon() noexcept;

    // Starts reading hot groups of a network that are not there, as far as buffers are free.
    void prefetch(std::size_t network);

    // Memory for the down rows of a network while a prompt is computed, which have to wait for their order. It is that
    // of the last slots: where they are in use, the least valuable clusters leave. Returned by take_back().
    std::uint8_t* lend_pass_rows();
    void take_back();

    // Consecutive clusters of a network that a prompt's pass reads at once, `stride` bytes between bundles.
    struct Chunk {
        std::size_t first = 0;
        std::size_t count = 0;
        const std::uint8_t* data = nullptr;
    };
    // Divides a network into what is cached whole (in slots) and what a pass has to read. Waits for reads in flight.
    void plan_pass(std::size_t network, std::vector<std::pair<std::size_t, Slot>>& cached, std::vector<Chunk>& missing);
    // Reads chunks in large pieces, some ahead of the one in use, and calls use for each in order. What belongs to
    // the hot region goes there on the way, and free slots are filled.
    void pass(std::size_t network, const std::vector<Chunk>& missing, const std::function<void(const Chunk&)>& use);

    // Adds reads, bytes and times since the last call.
    void account(Work& work);

    // Fits the slots into a new number, and the hot region into its share, keeping the most valuable ones. Slots beyond
    // total_slots() are for prompts.
    void resize(std::size_t slots, std::size_t hot_slots);

private:
    enum class Stage : std::uint8_t { empty, reading, first, rest, whole };
    // A read of whole clusters, or of the first blocks of one, or of those that follow them.
    enum class Extent : std::uint8_t { whole, first, rest };
    struct Run {
        Item item = 0;
        std::uint32_t count = 0;
        Extent extent = Extent::whole;
    };

    // Reads of hot groups and of a prompt's pass that may be in flight.
    static constexpr std::uint32_t kLarge = 4;

    static StoreOptions fitted(const BundleShape& shape, StoreOptions options);
    static CacheShape cache_shape(const BundleShape& shape, const StoreOptions& options);
    void check_file() const;
    // Notes that a slot waits for a read, and whether a guess asked for it.
    void await(Slot slot, bool guessed = false);
    Stage& stage(Slot slot) { return stage_[static_cast<std::size_t>(slot)]; }
    std::uint8_t* buffer(std::uint32_t tag) const;
    std::size_t begin_of(Extent extent) const;
    std::size_t bytes_of(const Run& run) const;
    BlockRead read_of(const Run& run, std::uint32_t tag) const;
    void merge(std::vector<Item>& wanted, Extent extent);
    void pump();
    void deliver(std::uint32_t tag, std::vector<Slot>& arrived);
    void release_tag(std::uint32_t tag);
    void recover(const ReadFailed& failed);
    // Whether one of these clusters was in a read that failed, and has not been read alone since.
    bool suspected(Item first, Item last) const;
    bool awaits(Slot slot, Extent extent) const;
    bool take(const Run& run, Slot slot, const std::uint8_t* cluster);
    void copy_rows(Slot slot, const std::uint8_t* cluster, std::size_t first, std::size_t count);
    void free_tags();
    std::size_t tags() const { return runs_.size(); }
    void settle() noexcept;
    void fit(std::size_t slots);
    void keep(std::size_t network, const Chunk& chunk);

    BundleShape shape_;
    StoreOptions options_;
    std::size_t total_slots_ = 0;
    std::size_t pass_slots_ = 0;
    std::size_t granted_ = 0;
    bool lent_ = false;
    std::vector<std::uint8_t> spare_;  // what is lent where there are too few slots
    NeuronCache cache_;
    ClusterReader reader_;
    std::uint8_t* pool_ = nullptr;
    std::uint8_t* buffers_ = nullptr;
    std::size_t small_bytes_ = 0;
    std::size_t large_bytes_ = 0;
    std::vector<Stage> stage_;
    std::vector<std::uint8_t> guessed_;  // by slot
    std::vector<std::uint8_t> needed_;   // by slot: claimed since its read was asked for
    std::vector<std::uint8_t> suspect_;  // by item
    bool suspicious_ = false;            // whether any read has failed
    std::vector<Item> wanted_, wanted_rest_;
    std::vector<Run> queue_;
    std::size_t queued_ = 0;  // the first of queue_ that was not submitted
    std::vector<Run> runs_;   // by tag
    std::vector<std::uint32_t> small_, large_;  // free tags
    std::vector<std::uint32_t> finished_;
    std::vector<ReadFailed> failed_;
    std::vector<BlockRead> batch_;
    std::uint64_t guesses_ = 0;
    std::uint64_t confirmed_ = 0;
    std::uint64_t reads_ = 0;
    std::uint64_t told_reads_ = 0;
    std::uint64_t told_bytes_ = 0;
    double told_busy_ = 0.0;
    double told_waited_ = 0.0;
};

}  // namespace fairlead

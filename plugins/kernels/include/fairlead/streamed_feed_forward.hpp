#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "fairlead/bundle_store.hpp"
#include "fairlead/feed_forward.hpp"
#include "fairlead/look_ahead.hpp"
#include "fairlead/neuron_predictor.hpp"
#include "fairlead/packed_feed_forward.hpp"

namespace fairlead {

// Buffers that the layers of a store share, since they compute one after the other.
struct StreamScratch {
    QuantizedInput input, guessed_input;
    std::vector<float> gate, up, value;
    std::vector<std::int32_t> absent, expected;  // of a guess
    std::vector<std::int32_t> neurons, rows, positions, came, next, contributing, asking;
    std::vector<std::uint8_t> gated;
    std::uint8_t* down = nullptr;  // rows that the store lends
    std::vector<BundleStore::Slot> arrived;
    std::vector<std::int32_t> head;  // by slot: the first candidate that waits for it
    std::vector<std::pair<std::size_t, BundleStore::Slot>> cached;
    std::vector<BundleStore::Chunk> missing;
};

struct StreamedLayer {
    std::size_t network = 0;
    // The neuron at each place of the file, [neurons].
    std::vector<std::int32_t> order;
    // Gate rows in memory, in the order of neurons, where the store's slots hold none; else data is null.
    PackedView gates;
    std::shared_ptr<NeuronPredictor> predictor;
    Activation activation = Activation::drelu;
    float threshold = 0.0F;
    // [neurons] and [hidden], or null.
    const float* gate_bias = nullptr;
    const float* down_bias = nullptr;
};

// A layer whose neurons lie in a file and partly in a cache (PowerInfer-2, section 4). Every result has the bits of
// PackedFeedForward over the same rows, whatever is cached: rows are summed in the order of neurons.
//
// One token: the reads of what is missing are started, then gate and up of what is there are computed while they are
// under way, then those of each arrival; the up and down rows of a bundle that takes several blocks are read only
// where its gate is not zero. When the cache has room for a part of the neurons only, they are taken in turns.
//
// Where a predictor decides, it is asked once more before the attention, for the neurons that are not cached: their
// reads are under way while the attention is computed, as in PowerInfer-2. What it guesses fills the cache, and no
// result depends on it.
class StreamedFeedForward final : public FeedForward {
public:
    // Throws std::invalid_argument where the order or the gates do not fit the store.
    StreamedFeedForward(std::shared_ptr<BundleStore> store, std::shared_ptr<StreamScratch> scratch,
                        StreamedLayer layer);

    std::size_t neurons() const override { return layer_.order.size(); }
    std::size_t width() const override { return store_->shape().hidden; }
    NeuronPredictor* predictor() const override { return layer_.predictor.get(); }
    void step(const KernelTable& k, const float* x, float* y, Work& work) override;
    void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count, float* y,
                       Work& work) override;
    void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) override;
    void prefetch() override;
    bool wants_guess() override;
    void prefetch_for(const KernelTable& k, const float* x, Work& work) override;
    bool reads() const override { return true; }
    bool prefetch_whole(std::size_t parts) override;

private:
    struct Call {
        const KernelTable& k;
        Work& work;
        // Whether value[] holds the gates already.
        bool gates_known;
    };
    // What is known of a candidate's gate.
    static constexpr std::uint8_t kUnknown = 0, kSilent = 1, kActive = 2;

    // Leaves the store and the buffers in a state from which the next call can go on, where a read fails.
    template <class Body>
    void guarded(const Body& body) {
        try {
            body();
        } catch (...) {
            store_->abandon();
            std::fill(scratch_->head.begin(), scratch_->head.end(), -1);
            throw;
        }
    }
    // Neurons that are not in memory but were used of late go to the scratch, in the order of the file.
    void list_absent();
    void gate_among(const KernelTable& k, std::size_t count);
    std::size_t row_cost() const;
    // Candidates and, where gates are in memory, their values go to the scratch; returns how many there are.
    std::size_t candidates(const KernelTable& k, const std::int32_t* neurons, std::size_t count, Work& work);
    void compute(const Call& call, std::size_t count, float* y);
    std::size_t claim(const Call& call, std::size_t begin, std::size_t end);
    void compute_window(const Call& call);
    void gate_and_up(const Call& call, std::size_t count);
    void gates(const Call& call, std::size_t count);
    void wait_for(std::size_t position, BundleStore::Slot slot);
    bool gather(bool wait);
    void add_down(const Call& call, std::size_t begin, std::size_t end, bool first, float* y);
    BundleStore::Item item_of(std::int32_t neuron) const;
    bool gated() const { return store_->shape().matrices == 3; }
    std::int32_t row_of(std::size_t position, BundleStore::Slot slot) const;
    void finish_counts(std::size_t count, Work& work);

    void pass(const KernelTable& k, std::size_t tokens, Work& work);
    void take_rows(const KernelTable& k, std::size_t tokens, const PackedView& gate, const PackedView& up,
                   const PackedView& down, const std::int32_t* rows);
    void scatter(const float* from, std::size_t tokens, float* to) const;

    std::shared_ptr<BundleStore> store_;
    std::shared_ptr<StreamScratch> scratch_;
    StreamedLayer layer_;
    LookAhead look_ahead_;
    std::vector<std::int32_t> place_;  // of each neuron in the file
    std::size_t waiting_ = 0;          // candidates of the window that wait for a read
};

}  // namespace fairlead

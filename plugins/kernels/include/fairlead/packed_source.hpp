#pragma once

#include <memory>
#include <vector>

#include "fairlead/feed_forward.hpp"
#include "fairlead/neuron_predictor.hpp"
#include "fairlead/packed_feed_forward.hpp"

namespace fairlead {

// Buffers that networks may share which compute one after the other, as the experts of a mixture do.
struct PackedSourceScratch {
    QuantizedInput input;
    PackedFeedForwardScratch dense;
    std::vector<float> gate, up;
    std::vector<std::int32_t> rows, active, place;
    std::vector<std::uint8_t> wanted;
};

// Packed weights in memory. Without a predictor every gate is computed and prompts have the bits of single tokens;
// with one, single tokens compute the predicted neurons only, and prompts all of them.
class PackedFeedForward final : public FeedForward {
public:
    PackedFeedForward(const PackedFeedForwardView& view, std::shared_ptr<NeuronPredictor> predictor,
                      std::shared_ptr<PackedSourceScratch> scratch = std::make_shared<PackedSourceScratch>())
        : view_(view), predictor_(std::move(predictor)), scratch_(std::move(scratch)) {}

    std::size_t neurons() const override { return view_.gate.rows; }
    NeuronPredictor* predictor() const override { return predictor_.get(); }
    void step(const KernelTable& k, const float* x, float* y, Work& work) override;
    void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count, float* y,
                       Work& work) override;
    void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) override;
    void step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden, float* y,
                   std::int32_t* active, Work& work) override;

private:
    void compute(const KernelTable& k, const std::int32_t* neurons, std::size_t count, float* y, Work& work);
    // rows = the neurons that any of the tokens computes; returns whether that is a part of them only.
    bool join_predictions(std::size_t tokens);
    // Zeroes the gates of what a token's own predictor did not choose.
    void mask_predictions(std::size_t tokens);
    // Moves the columns of gate with an active token to the front and their neurons to active; returns how many.
    std::size_t compact_columns(std::size_t tokens, const std::int32_t* neurons, std::size_t count,
                                std::int32_t* active);

    PackedFeedForwardView view_;
    std::shared_ptr<NeuronPredictor> predictor_;
    std::shared_ptr<PackedSourceScratch> scratch_;
};

}  // namespace fairlead

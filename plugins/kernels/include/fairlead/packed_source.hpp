#pragma once

#include <memory>
#include <vector>

#include "fairlead/feed_forward.hpp"
#include "fairlead/neuron_predictor.hpp"
#include "fairlead/packed_feed_forward.hpp"

namespace fairlead {

// Packed weights in memory. Without a predictor every gate is computed and prompts have the bits of single tokens;
// with one, single tokens compute the predicted neurons only, and prompts all of them.
class PackedFeedForward final : public FeedForward {
public:
    PackedFeedForward(const PackedFeedForwardView& view, std::shared_ptr<NeuronPredictor> predictor)
        : view_(view), predictor_(std::move(predictor)) {}

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
    // rows_ = the neurons that any of the tokens computes; returns whether that is a part of them only.
    bool join_predictions(std::size_t tokens);
    // Zeroes the gates of what a token's own predictor did not choose.
    void mask_predictions(std::size_t tokens);
    // Moves the columns of gate_ with an active token to the front and their neurons to active_; returns how many.
    std::size_t compact_columns(std::size_t tokens, const std::int32_t* neurons, std::size_t count,
                                std::int32_t* active);

    PackedFeedForwardView view_;
    std::shared_ptr<NeuronPredictor> predictor_;
    QuantizedInput input_;
    PackedFeedForwardScratch scratch_;
    std::vector<float> gate_, up_;
    std::vector<std::int32_t> rows_, active_, place_;
    std::vector<std::uint8_t> wanted_;
};

}  // namespace fairlead

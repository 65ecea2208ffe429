#pragma once

#include <memory>

#include "fairlead/accelerator.hpp"
#include "fairlead/feed_forward.hpp"

namespace fairlead {

// A layer whose hot neurons an accelerator computes, all of them for every token, while the processor computes the
// cold ones that are active or predicted (PowerInfer, section 5; PowerInfer-2, section 4.1). The two sums are added in
// one order, cold + hot, so that results are reproducible. Lists of neurons and the predictor count cold ones only.
class HybridFeedForward final : public FeedForward {
public:
    HybridFeedForward(std::shared_ptr<FeedForward> cold, std::shared_ptr<Accelerator> accelerator, std::size_t layer,
                      std::size_t hidden, std::size_t hot)
        : cold_(std::move(cold)), accelerator_(std::move(accelerator)), layer_(layer), hidden_(hidden), hot_(hot) {}

    std::size_t neurons() const override { return cold_->neurons() + hot_; }
    std::size_t width() const override { return hidden_; }
    // Of the cold neurons, which come first; the accelerator does not tell which of its own fired.
    void count_activations(std::shared_ptr<std::int64_t> counts) override {
        cold_->count_activations(std::move(counts));
    }
    NeuronPredictor* predictor() const override { return cold_->predictor(); }
    void prefetch() override { cold_->prefetch(); }
    bool wants_guess() override { return cold_->wants_guess(); }
    void prefetch_for(const KernelTable& k, const float* x, Work& work) override { cold_->prefetch_for(k, x, work); }
    void step(const KernelTable& k, const float* x, float* y, Work& work) override;
    // Of the cold neurons only those listed; all hot ones.
    void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count, float* y,
                       Work& work) override;
    void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) override;
    void step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden, float* y,
                   std::int32_t* active, Work& work) override;

private:
    // Runs `cold`, which writes y [tokens, hidden], while the accelerator computes, and adds what that found to y.
    template <class Cold>
    void overlapped(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work, const Cold& cold);

    std::shared_ptr<FeedForward> cold_;
    std::shared_ptr<Accelerator> accelerator_;
    std::size_t layer_, hidden_, hot_;
};

}  // namespace fairlead

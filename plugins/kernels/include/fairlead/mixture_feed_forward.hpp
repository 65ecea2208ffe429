#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fairlead/feed_forward.hpp"
#include "fairlead/look_ahead.hpp"

namespace fairlead {

// How a mixture of experts chooses. A softmax over the router's products, or the sigmoid of each, weighs the experts; the
// `chosen` largest are computed, of equals the first (Mixtral, section 2.1), their weights rescaled to the sum 1 where
// `renormalize`. The router looks at the input of the networks, or at the layer's state before its attention, which tells
// early what will have to be read (SmallThinker).
struct RouterView {
    const float* router = nullptr;  // [experts, hidden]
    std::size_t hidden = 0;
    std::size_t chosen = 1;
    bool renormalize = true;
    bool sigmoid = false;
    bool before_attention = false;
    // The row [hidden] whose sigmoid weighs the shared expert (Qwen2-MoE); null where there is none.
    const float* shared_gate = nullptr;
};

// Feed-forward networks of which a router chooses a few for each token, and one that all tokens share, if any. Neurons
// are those of the experts in their order, then those of the shared one. y is summed over a token's experts in that
// order too, whatever the other tokens of a call chose, so that every result has the bits of step().
class MixtureFeedForward final : public FeedForward {
public:
    // Throws std::invalid_argument where more experts are to be chosen than there are.
    MixtureFeedForward(const RouterView& router, std::vector<std::shared_ptr<FeedForward>> experts,
                       std::shared_ptr<FeedForward> shared);

    std::size_t neurons() const override { return first_.back(); }
    void step(const KernelTable& k, const float* x, float* y, Work& work) override;
    void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count, float* y,
                       Work& work) override;
    void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) override;
    void step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden, float* y,
                   std::int32_t* active, Work& work) override;
    void count_activations(std::shared_ptr<std::int64_t> counts) override;
    bool routes_early() const override { return router_.before_attention; }
    // Also starts the reads of the chosen experts, which are then under way while the attention is computed.
    void route_early(const KernelTable& k, const float* hidden, std::size_t tokens) override;
    bool reads() const override;
    void prefetch() override;
    bool wants_guess() override;
    // The router of a stock model is asked once more, for what it would choose if the attention added nothing; it rests
    // where that has not paid.
    void prefetch_for(const KernelTable& k, const float* x, Work& work) override;

private:
    // What one token wants of a network.
    struct Use {
        std::size_t token;
        float share;
    };

    // uses_[e] = the tokens that chose expert e in their order; all tokens for the shared one, which is the last.
    void route(const KernelTable& k, const float* x, std::size_t tokens);
    // The same, but for what was routed early.
    void settle(const KernelTable& k, const float* x, std::size_t tokens);
    void choose(std::size_t token, float* shares);
    // Calls compute(network, its tokens' inputs, how many, outputs) for each network that is used, in order, and adds
    // what it wrote to y.
    template <class Compute>
    void for_each_used(const float* x, std::size_t tokens, float* y, Work& work, const Compute& compute);
    // Starts the reads of the experts in uses_; of those that have a predictor only what it finds at x, where that is given.
    void read_chosen(const KernelTable& k, const float* x, Work& work);
    // Tells the look-ahead which of the guessed experts were chosen.
    void confirm();
    const float* gather(const std::vector<Use>& uses, const float* x, std::size_t tokens);

    RouterView router_;
    std::vector<std::shared_ptr<FeedForward>> networks_;  // the experts, then the shared one
    std::size_t experts_ = 0;
    std::vector<std::size_t> first_;  // the first neuron of each network, then the number of all
    std::vector<std::vector<Use>> uses_;
    std::size_t routed_ = 0;  // tokens that were routed early
    LookAhead look_ahead_;
    std::vector<std::size_t> guessed_;  // experts of which a guess asked for something
    std::vector<std::uint8_t> taken_;
    std::vector<std::size_t> picked_;
    std::vector<float> shares_, input_, output_;
    std::vector<std::int32_t> listed_, active_;
};

}  // namespace fairlead

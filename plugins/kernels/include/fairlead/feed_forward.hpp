#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "fairlead/kernel_table.hpp"
#include "fairlead/work.hpp"

namespace fairlead {

class NeuronPredictor;

// One layer's feed-forward network, wherever its weights lie. x is normalized; y is overwritten. Calls on one object
// take turns. A source that reads may throw std::runtime_error; the object must then still take further calls.
class FeedForward {
public:
    FeedForward() = default;
    FeedForward(const FeedForward&) = delete;
    FeedForward& operator=(const FeedForward&) = delete;
    virtual ~FeedForward() = default;

    virtual std::size_t neurons() const = 0;
    // Floats of a token where a source has a size of its own; 0 where its maker has checked it.
    virtual std::size_t width() const { return 0; }

    // y [hidden] of one token x [hidden].
    virtual void step(const KernelTable& k, const float* x, float* y, Work& work) = 0;

    // The same over listed neurons only, each at most once, summed in the order of the list.
    virtual void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count,
                               float* y, Work& work) = 0;

    // Several tokens of a prompt, dense: y [tokens, hidden]. The bits of step() where no predictor decides.
    virtual void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) = 0;

    // One token each of several sequences: the bits of step(). active[t] = active neurons of token t.
    virtual void step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden, float* y,
                           std::int32_t* active, Work& work);

    // The layer's attention is about to be computed, and step() or step_many() will follow: reads may start.
    virtual void prefetch() {}

    // A mixture whose router looks at the layer's state before its attention, hidden [tokens, hidden], which is not
    // normalized; the next call is then for the same tokens.
    virtual bool routes_early() const { return false; }
    virtual void route_early(const KernelTable&, const float*, std::size_t) {}

    // The same with what step() would be given if the attention added nothing: it decides what is read early, and
    // nothing else. Called only where wants_guess() says so, which is to be asked once a token.
    virtual bool wants_guess() { return false; }
    virtual void prefetch_for(const KernelTable&, const float*, Work&) {}

    // Whether weights are read when they are needed, and a call that starts the reads of those that are not there: at
    // most the given part of what may be asked for early, 1 / parts. Returns whether any was asked for.
    virtual bool reads() const { return false; }
    virtual bool prefetch_whole(std::size_t) { return false; }

    // What chooses the neurons of a step, or null where all gates are computed.
    virtual NeuronPredictor* predictor() const { return nullptr; }

    // Counts for each neuron the tokens that activated it, from now on, in counts [neurons]; null ends that.
    virtual void count_activations(std::shared_ptr<std::int64_t> counts) { counts_ = std::move(counts); }

protected:
    std::int64_t* counts() const { return counts_.get(); }
    // Adds one token's active neurons to the counts.
    void count_active(const std::int32_t* neurons, std::size_t count) const;

private:
    std::shared_ptr<std::int64_t> counts_;
};

// x[i] += bias[neurons ? neurons[i] : first + i], and nothing where there is no bias.
void add_bias_of(const float* bias, const std::int32_t* neurons, std::size_t first, std::size_t count, float* x);

// y = down(gate_function(gate x + gate_bias) * up_function(up x)) + down_bias; all three matrices hold one neuron a row.
// Biases may be null. A network without gate (OPT) has its first matrix as `gate` and no rows in `up`:
// y = down(gate_function(gate x + gate_bias)) + down_bias.
template <class Matrix>
struct FeedForwardOver {
    Matrix gate;
    Matrix up;
    Matrix down_t;
    Activation activation = Activation::drelu;
    float threshold = 0.0F;
    const float* gate_bias = nullptr;
    const float* down_bias = nullptr;

    bool gated() const { return up.rows != 0; }
};
using FeedForwardView = FeedForwardOver<Q8View>;

// Buffers that calls reuse. After a call for one token, `neurons` holds the active ones in the candidates' order.
struct FeedForwardScratch {
    std::vector<float> gate;
    std::vector<float> up;
    std::vector<std::int32_t> neurons;
    std::vector<std::int32_t> contributing;
};

// One token. Reads the gate rows of `candidates` (all neurons when null), up rows of the active among them and
// down rows where the product is not zero. Sums in the order of the candidates. Returns the number of active
// neurons: those whose gate function is not zero.
std::size_t feed_forward(const KernelTable& k, const FeedForwardView& layer, const float* x,
                         const std::int32_t* candidates, std::size_t count, FeedForwardScratch& scratch, float* y);

// Several tokens, dense; the same result bit for bit. Adds each neuron's active tokens to counts[neuron] when
// counts is given. Returns the sum of the tokens' active neurons.
std::size_t feed_forward_batch(const KernelTable& k, const FeedForwardView& layer, const float* x,
                               std::size_t tokens, FeedForwardScratch& scratch, float* y, std::int64_t* counts);

// Moves the entries whose value is not zero to the front, in order; kept[i] = neurons[i], or i where neurons is
// null. Returns how many there are. `kept` may be `neurons` itself and holds count + 1 entries.
std::size_t compact(const std::int32_t* neurons, std::size_t count, float* value, std::int32_t* kept);

// Float activations and Q8 weights in memory.
class Q8FeedForward final : public FeedForward {
public:
    // The scratch may be shared by networks that compute one after the other.
    explicit Q8FeedForward(const FeedForwardView& view,
                           std::shared_ptr<FeedForwardScratch> scratch = std::make_shared<FeedForwardScratch>())
        : view_(view), scratch_(std::move(scratch)) {}

    std::size_t neurons() const override { return view_.gate.rows; }
    void step(const KernelTable& k, const float* x, float* y, Work& work) override;
    void step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons, std::size_t count, float* y,
                       Work& work) override;
    void batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) override;

private:
    FeedForwardView view_;
    std::shared_ptr<FeedForwardScratch> scratch_;
};

}  // namespace fairlead

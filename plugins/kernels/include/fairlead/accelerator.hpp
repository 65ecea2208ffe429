#pragma once

#include <cstddef>

namespace fairlead {

// A device that computes some neurons of each layer (the hot ones) while the processor computes the others. One
// submission at a time: submit(), and then wait() before the next.
class Accelerator {
public:
    Accelerator() = default;
    Accelerator(const Accelerator&) = delete;
    Accelerator& operator=(const Accelerator&) = delete;
    virtual ~Accelerator() = default;

    // The most tokens of one submission; at least 8.
    virtual std::size_t capacity() const = 0;
    // Where the normalized tokens go before submit(): [capacity, hidden].
    virtual float* input() = 0;
    // After wait(): what the layer's hot neurons add to each token, [capacity, hidden].
    virtual const float* output() const = 0;
    // After wait(): how many of the hot neurons each token activated, [capacity].
    virtual const float* active() const = 0;
    // Starts on tokens of the input. May throw.
    virtual void submit(std::size_t layer, std::size_t tokens) = 0;
    // Returns when the output is there. Throws what went wrong since submit().
    virtual void wait() = 0;
};

}  // namespace fairlead

#include "fairlead/hybrid_feed_forward.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace fairlead {
namespace {

// A submission that is waited for even where the processor's part throws: the device writes to buffers of ours.
class Submission {
public:
    Submission(Accelerator& accelerator, std::size_t layer, std::size_t tokens) : accelerator_(accelerator) {
        accelerator_.submit(layer, tokens);
    }
    Submission(const Submission&) = delete;
    Submission& operator=(const Submission&) = delete;
    ~Submission() {
        if (!open_) return;
        try {
            accelerator_.wait();
        } catch (...) {
            // The error that is under way says more.
        }
    }

    void wait() {
        open_ = false;
        accelerator_.wait();
    }

private:
    Accelerator& accelerator_;
    bool open_ = true;
};

}  // namespace

template <class Cold>
void HybridFeedForward::overlapped(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work,
                                   const Cold& cold) {
    std::memcpy(accelerator_->input(), x, tokens * hidden_ * sizeof(float));
    Submission submission(*accelerator_, layer_, tokens);
    cold();
    submission.wait();
    k.add(accelerator_->output(), y, tokens * hidden_);
    work.predicted += static_cast<std::int64_t>(tokens * hot_);
    work.computed += static_cast<std::int64_t>(tokens * hot_);
    for (std::size_t t = 0; t < tokens; ++t) work.active += static_cast<std::int64_t>(accelerator_->active()[t]);
}

void HybridFeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    overlapped(k, x, 1, y, work, [&] { cold_->step(k, x, y, work); });
}

void HybridFeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                      std::size_t count, float* y, Work& work) {
    const std::size_t known = cold_->neurons();
    const auto foreign = [known](std::int32_t neuron) { return static_cast<std::size_t>(neuron) >= known; };
    if (std::any_of(neurons, neurons + count, foreign)) {
        throw std::out_of_range("neurons: a hybrid layer takes lists of cold neurons only");
    }
    overlapped(k, x, 1, y, work, [&] { cold_->step_selected(k, x, neurons, count, y, work); });
}

void HybridFeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    for (std::size_t done = 0; done < tokens; done += accelerator_->capacity()) {
        const std::size_t n = std::min(accelerator_->capacity(), tokens - done);
        const float* from = x + done * hidden_;
        float* to = y + done * hidden_;
        overlapped(k, from, n, to, work, [&] { cold_->batch(k, from, n, to, work); });
    }
}

void HybridFeedForward::step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden,
                                  float* y, std::int32_t* active, Work& work) {
    overlapped(k, x, tokens, y, work, [&] { cold_->step_many(k, x, tokens, hidden, y, active, work); });
    for (std::size_t t = 0; t < tokens; ++t) active[t] += static_cast<std::int32_t>(accelerator_->active()[t]);
}

}  // namespace fairlead

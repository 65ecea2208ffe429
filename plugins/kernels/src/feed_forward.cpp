#include "fairlead/feed_forward.hpp"

#include "fairlead/operators.hpp"

namespace fairlead {

std::size_t compact(const std::int32_t* neurons, std::size_t count, float* value, std::int32_t* kept) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float v = value[i];
        kept[n] = neurons ? neurons[i] : static_cast<std::int32_t>(i);
        value[n] = v;
        n += v != 0.0F ? 1 : 0;
    }
    return n;
}

void add_bias_of(const float* bias, const std::int32_t* neurons, std::size_t first, std::size_t count, float* x) {
    if (bias == nullptr) return;
    for (std::size_t i = 0; i < count; ++i) {
        x[i] += bias[neurons ? static_cast<std::size_t>(neurons[first + i]) : first + i];
    }
}

std::size_t feed_forward(const KernelTable& k, const FeedForwardView& layer, const float* x,
                         const std::int32_t* candidates, std::size_t count, FeedForwardScratch& s, float* y) {
    if (candidates == nullptr) count = layer.gate.rows;
    s.gate.resize(count + 1);
    s.up.resize(count);
    s.neurons.resize(count + 1);
    multiply_selected(k, layer.gate, candidates, count, x, s.gate.data());
    add_bias_of(layer.gate_bias, candidates, 0, count, s.gate.data());
    k.gate(layer.activation, layer.threshold, s.gate.data(), count);
    const std::size_t active = compact(candidates, count, s.gate.data(), s.neurons.data());
    if (layer.gated()) {
        multiply_selected(k, layer.up, s.neurons.data(), active, x, s.up.data());
        k.multiply_up(layer.activation, s.up.data(), s.gate.data(), active);
    }
    std::vector<std::int32_t>& contributing = s.contributing;
    contributing.resize(active + 1);
    const std::size_t terms = compact(s.neurons.data(), active, s.gate.data(), contributing.data());
    sum_selected(k, layer.down_t, contributing.data(), s.gate.data(), terms, y);
    add_bias_of(layer.down_bias, nullptr, 0, layer.down_t.columns, y);
    s.neurons.resize(active);
    return active;
}

std::size_t feed_forward_batch(const KernelTable& k, const FeedForwardView& layer, const float* x,
                               std::size_t tokens, FeedForwardScratch& s, float* y, std::int64_t* counts) {
    const std::size_t neurons = layer.gate.rows;
    s.gate.resize(tokens * neurons);
    s.up.resize(tokens * neurons);
    multiply(k, layer.gate, x, tokens, s.gate.data());
    for (std::size_t t = 0; t < tokens; ++t) {
        add_bias_of(layer.gate_bias, nullptr, 0, neurons, s.gate.data() + t * neurons);
    }
    k.gate(layer.activation, layer.threshold, s.gate.data(), tokens * neurons);
    std::size_t active = 0;
    for (std::size_t i = 0; i < tokens * neurons; ++i) {
        const bool fires = s.gate[i] != 0.0F;
        active += fires ? 1 : 0;
        if (counts != nullptr) counts[i % neurons] += fires ? 1 : 0;
    }
    if (layer.gated()) {
        multiply(k, layer.up, x, tokens, s.up.data());
        k.multiply_up(layer.activation, s.up.data(), s.gate.data(), tokens * neurons);
    }
    sum_batch(k, layer.down_t, s.gate.data(), tokens, y);
    const std::size_t width = layer.down_t.columns;
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(layer.down_bias, nullptr, 0, width, y + t * width);
    return active;
}

void FeedForward::count_active(const std::int32_t* neurons, std::size_t count) const {
    if (counts_ == nullptr) return;
    for (std::size_t i = 0; i < count; ++i) ++counts_.get()[neurons[i]];
}

void FeedForward::step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden, float* y,
                            std::int32_t* active, Work& work) {
    for (std::size_t t = 0; t < tokens; ++t) {
        const std::int64_t before = work.active;
        step(k, x + t * hidden, y + t * hidden, work);
        active[t] = static_cast<std::int32_t>(work.active - before);
    }
}

void Q8FeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    step_selected(k, x, nullptr, view_.gate.rows, y, work);
}

void Q8FeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                  std::size_t count, float* y, Work& work) {
    const std::size_t active = feed_forward(k, view_, x, neurons, count, *scratch_, y);
    count_active(scratch_->neurons.data(), active);
    work.predicted += static_cast<std::int64_t>(count);
    work.computed += static_cast<std::int64_t>(count);
    work.active += static_cast<std::int64_t>(active);
}

void Q8FeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    const std::size_t active = feed_forward_batch(k, view_, x, tokens, *scratch_, y, counts());
    work.predicted += static_cast<std::int64_t>(tokens * view_.gate.rows);
    work.computed += static_cast<std::int64_t>(tokens * view_.gate.rows);
    work.active += static_cast<std::int64_t>(active);
}

}  // namespace fairlead

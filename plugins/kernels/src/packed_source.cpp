#include "fairlead/packed_source.hpp"

#include <algorithm>

#include "fairlead/packed_operators.hpp"

namespace fairlead {

void PackedFeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    PackedSourceScratch& s = *scratch_;
    quantize_input(k, x, 1, view_.gate.columns, s.input);
    if (predictor_ == nullptr) {
        compute(k, nullptr, neurons(), y, work);
        return;
    }
    work.predictor_ns += predictor_->predict(k, s.input);
    const std::vector<std::int32_t>& list = predictor_->lists()[0];
    const std::int32_t none = 0;
    compute(k, list.empty() ? &none : list.data(), list.size(), y, work);
}

void PackedFeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                      std::size_t count, float* y, Work& work) {
    PackedSourceScratch& s = *scratch_;
    quantize_input(k, x, 1, view_.gate.columns, s.input);
    compute(k, neurons, count, y, work);
}

void PackedFeedForward::compute(const KernelTable& k, const std::int32_t* neurons, std::size_t count, float* y,
                                Work& work) {
    PackedSourceScratch& s = *scratch_;
    const std::size_t active = feed_forward_packed(k, view_, s.input, neurons, count, s.dense, y);
    count_active(s.dense.neurons.data(), active);
    work.predicted += static_cast<std::int64_t>(count);
    work.computed += static_cast<std::int64_t>(count);
    work.active += static_cast<std::int64_t>(active);
}

void PackedFeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    PackedSourceScratch& s = *scratch_;
    quantize_input(k, x, tokens, view_.gate.columns, s.input);
    const std::size_t active =
        feed_forward_packed_batch(k, view_, s.input, nullptr, neurons(), s.dense, y, counts());
    work.predicted += static_cast<std::int64_t>(tokens * neurons());
    work.computed += static_cast<std::int64_t>(tokens * neurons());
    work.active += static_cast<std::int64_t>(active);
}

bool PackedFeedForward::join_predictions(std::size_t tokens) {
    PackedSourceScratch& s = *scratch_;
    s.wanted.assign(neurons(), 0);
    for (std::size_t t = 0; t < tokens; ++t) {
        for (const std::int32_t neuron : predictor_->lists()[t]) s.wanted[static_cast<std::size_t>(neuron)] = 1;
    }
    s.rows.clear();
    s.place.resize(neurons());
    for (std::size_t i = 0; i < neurons(); ++i) {
        if (s.wanted[i] == 0) continue;
        s.place[i] = static_cast<std::int32_t>(s.rows.size());
        s.rows.push_back(static_cast<std::int32_t>(i));
    }
    return s.rows.size() < neurons();
}

void PackedFeedForward::mask_predictions(std::size_t tokens) {
    PackedSourceScratch& s = *scratch_;
    const std::size_t count = s.rows.size();
    for (std::size_t t = 0; t < tokens; ++t) {
        float* gate = s.gate.data() + t * count;
        std::fill(s.wanted.begin(), s.wanted.begin() + static_cast<std::ptrdiff_t>(count), std::uint8_t{0});
        for (const std::int32_t neuron : predictor_->lists()[t]) {
            s.wanted[static_cast<std::size_t>(s.place[static_cast<std::size_t>(neuron)])] = 1;
        }
        for (std::size_t i = 0; i < count; ++i) gate[i] = s.wanted[i] != 0 ? gate[i] : 0.0F;
    }
}

std::size_t PackedFeedForward::compact_columns(std::size_t tokens, const std::int32_t* neurons, std::size_t count,
                                               std::int32_t* active) {
    PackedSourceScratch& s = *scratch_;
    std::fill_n(active, tokens, 0);
    s.active.resize(count + 1);
    s.place.resize(count + 1);
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::int32_t fires = 0;
        const std::int32_t neuron = neurons != nullptr ? neurons[i] : static_cast<std::int32_t>(i);
        for (std::size_t t = 0; t < tokens; ++t) {
            const std::int32_t fired = s.gate[t * count + i] != 0.0F ? 1 : 0;
            active[t] += fired;
            fires += fired;
        }
        if (counts() != nullptr) counts()[neuron] += fires;
        s.active[n] = neuron;
        s.place[n] = static_cast<std::int32_t>(i);
        n += fires != 0 ? 1 : 0;
    }
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < n; ++i) s.gate[t * n + i] = s.gate[t * count + static_cast<std::size_t>(s.place[i])];
    }
    return n;
}

void PackedFeedForward::step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden,
                                  float* y, std::int32_t* active, Work& work) {
    PackedSourceScratch& s = *scratch_;
    quantize_input(k, x, tokens, hidden, s.input);
    const std::int32_t* rows = nullptr;
    std::size_t count = neurons();
    std::size_t predicted = tokens * count;
    if (predictor_ != nullptr) {
        work.predictor_ns += predictor_->predict(k, s.input);
        predicted = 0;
        for (std::size_t t = 0; t < tokens; ++t) predicted += predictor_->lists()[t].size();
        if (join_predictions(tokens)) rows = s.rows.data();
        count = s.rows.size();
    }
    s.gate.resize(tokens * count);
    if (count > 0) multiply_packed(k, view_.gate, rows, count, s.input, s.gate.data(), count);
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(view_.gate_bias, rows, 0, count, s.gate.data() + t * count);
    k.gate(view_.activation, view_.threshold, s.gate.data(), tokens * count);
    if (predictor_ != nullptr) mask_predictions(tokens);
    const std::size_t kept = compact_columns(tokens, rows, count, active);
    if (view_.gated()) {
        s.up.resize(tokens * kept);
        if (kept > 0) multiply_packed(k, view_.up, s.active.data(), kept, s.input, s.up.data(), kept);
        k.multiply_up(view_.activation, s.up.data(), s.gate.data(), tokens * kept);
    }
    sum_packed_batch(k, view_.down_t, s.active.data(), s.gate.data(), kept, tokens, y);
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(view_.down_bias, nullptr, 0, hidden, y + t * hidden);
    work.predicted += static_cast<std::int64_t>(predicted);
    work.computed += static_cast<std::int64_t>(tokens * count);
    for (std::size_t t = 0; t < tokens; ++t) work.active += active[t];
}

}  // namespace fairlead

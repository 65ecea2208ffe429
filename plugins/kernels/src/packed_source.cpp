#include "fairlead/packed_source.hpp"

#include <algorithm>

#include "fairlead/packed_operators.hpp"

namespace fairlead {

void PackedFeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    quantize_input(k, x, 1, view_.gate.columns, input_);
    if (predictor_ == nullptr) {
        compute(k, nullptr, neurons(), y, work);
        return;
    }
    work.predictor_ns += predictor_->predict(k, input_);
    const std::vector<std::int32_t>& list = predictor_->lists()[0];
    const std::int32_t none = 0;
    compute(k, list.empty() ? &none : list.data(), list.size(), y, work);
}

void PackedFeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                      std::size_t count, float* y, Work& work) {
    quantize_input(k, x, 1, view_.gate.columns, input_);
    compute(k, neurons, count, y, work);
}

void PackedFeedForward::compute(const KernelTable& k, const std::int32_t* neurons, std::size_t count, float* y,
                                Work& work) {
    const std::size_t active = feed_forward_packed(k, view_, input_, neurons, count, scratch_, y);
    count_active(scratch_.neurons.data(), active);
    work.predicted += static_cast<std::int64_t>(count);
    work.computed += static_cast<std::int64_t>(count);
    work.active += static_cast<std::int64_t>(active);
}

void PackedFeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    quantize_input(k, x, tokens, view_.gate.columns, input_);
    const std::size_t active =
        feed_forward_packed_batch(k, view_, input_, nullptr, neurons(), scratch_, y, counts());
    work.predicted += static_cast<std::int64_t>(tokens * neurons());
    work.computed += static_cast<std::int64_t>(tokens * neurons());
    work.active += static_cast<std::int64_t>(active);
}

bool PackedFeedForward::join_predictions(std::size_t tokens) {
    wanted_.assign(neurons(), 0);
    for (std::size_t t = 0; t < tokens; ++t) {
        for (const std::int32_t neuron : predictor_->lists()[t]) wanted_[static_cast<std::size_t>(neuron)] = 1;
    }
    rows_.clear();
    place_.resize(neurons());
    for (std::size_t i = 0; i < neurons(); ++i) {
        if (wanted_[i] == 0) continue;
        place_[i] = static_cast<std::int32_t>(rows_.size());
        rows_.push_back(static_cast<std::int32_t>(i));
    }
    return rows_.size() < neurons();
}

void PackedFeedForward::mask_predictions(std::size_t tokens) {
    const std::size_t count = rows_.size();
    for (std::size_t t = 0; t < tokens; ++t) {
        float* gate = gate_.data() + t * count;
        std::fill(wanted_.begin(), wanted_.begin() + static_cast<std::ptrdiff_t>(count), std::uint8_t{0});
        for (const std::int32_t neuron : predictor_->lists()[t]) {
            wanted_[static_cast<std::size_t>(place_[static_cast<std::size_t>(neuron)])] = 1;
        }
        for (std::size_t i = 0; i < count; ++i) gate[i] = wanted_[i] != 0 ? gate[i] : 0.0F;
    }
}

std::size_t PackedFeedForward::compact_columns(std::size_t tokens, const std::int32_t* neurons, std::size_t count,
                                               std::int32_t* active) {
    std::fill_n(active, tokens, 0);
    active_.resize(count + 1);
    place_.resize(count + 1);
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::int32_t fires = 0;
        const std::int32_t neuron = neurons != nullptr ? neurons[i] : static_cast<std::int32_t>(i);
        for (std::size_t t = 0; t < tokens; ++t) {
            const std::int32_t fired = gate_[t * count + i] != 0.0F ? 1 : 0;
            active[t] += fired;
            fires += fired;
        }
        if (counts() != nullptr) counts()[neuron] += fires;
        active_[n] = neuron;
        place_[n] = static_cast<std::int32_t>(i);
        n += fires != 0 ? 1 : 0;
    }
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < n; ++i) gate_[t * n + i] = gate_[t * count + static_cast<std::size_t>(place_[i])];
    }
    return n;
}

void PackedFeedForward::step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden,
                                  float* y, std::int32_t* active, Work& work) {
    quantize_input(k, x, tokens, hidden, input_);
    const std::int32_t* rows = nullptr;
    std::size_t count = neurons();
    std::size_t predicted = tokens * count;
    if (predictor_ != nullptr) {
        work.predictor_ns += predictor_->predict(k, input_);
        predicted = 0;
        for (std::size_t t = 0; t < tokens; ++t) predicted += predictor_->lists()[t].size();
        if (join_predictions(tokens)) rows = rows_.data();
        count = rows_.size();
    }
    gate_.resize(tokens * count);
    if (count > 0) multiply_packed(k, view_.gate, rows, count, input_, gate_.data(), count);
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(view_.gate_bias, rows, 0, count, gate_.data() + t * count);
    k.gate(view_.activation, view_.threshold, gate_.data(), tokens * count);
    if (predictor_ != nullptr) mask_predictions(tokens);
    const std::size_t kept = compact_columns(tokens, rows, count, active);
    if (view_.gated()) {
        up_.resize(tokens * kept);
        if (kept > 0) multiply_packed(k, view_.up, active_.data(), kept, input_, up_.data(), kept);
        k.multiply_up(view_.activation, up_.data(), gate_.data(), tokens * kept);
    }
    sum_packed_batch(k, view_.down_t, active_.data(), gate_.data(), kept, tokens, y);
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(view_.down_bias, nullptr, 0, hidden, y + t * hidden);
    work.predicted += static_cast<std::int64_t>(predicted);
    work.computed += static_cast<std::int64_t>(tokens * count);
    for (std::size_t t = 0; t < tokens; ++t) work.active += active[t];
}

}  // namespace fairlead

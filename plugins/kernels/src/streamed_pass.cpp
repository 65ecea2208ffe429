// A prompt's tokens through a streamed layer: all of its neurons, in the order of the file.
#include <algorithm>
#include <cstring>

#include "fairlead/packed_operators.hpp"
#include "fairlead/streamed_feed_forward.hpp"

namespace fairlead {
namespace {

// Up to so many tokens of a prompt are computed one by one: together they touch a part of the neurons only.
constexpr std::size_t kFewTokens = 4;

}  // namespace

void StreamedFeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    StreamScratch& s = *scratch_;
    const std::size_t hidden = store_->shape().hidden;
    if (tokens <= kFewTokens && layer_.predictor == nullptr && layer_.gates.data != nullptr) {
        for (std::size_t t = 0; t < tokens; ++t) step(k, x + t * hidden, y + t * hidden, work);
        return;
    }
    quantize_input(k, x, tokens, hidden, s.input);
    const std::size_t count = neurons();
    s.gate.resize(tokens * count);
    s.value.resize(tokens * count);
    s.down = store_->lend_pass_rows();
    guarded([&] { pass(k, tokens, work); });
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(layer_.gate_bias, nullptr, 0, count, s.gate.data() + t * count);
    k.gate(layer_.activation, layer_.threshold, s.gate.data(), tokens * count);
    for (std::size_t i = 0; i < tokens * count; ++i) {
        const bool fires = s.gate[i] != 0.0F;
        work.active += fires ? 1 : 0;
        if (counts() != nullptr) counts()[i % count] += fires ? 1 : 0;
    }
    if (gated()) k.multiply_up(layer_.activation, s.value.data(), s.gate.data(), tokens * count);
    const PackedView down{s.down, count, hidden, store_->shape().row_bytes(), store_->shape().bits};
    sum_packed_batch(k, down, nullptr, s.gate.data(), count, tokens, y);
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(layer_.down_bias, nullptr, 0, hidden, y + t * hidden);
    work.predicted += static_cast<std::int64_t>(tokens * count);
    work.computed += static_cast<std::int64_t>(tokens * count);
    store_->account(work);
}

// gate and value [tokens, neurons] = gates and ups of all neurons, down [neurons] = their rows, whose sum has to wait
// for the order of neurons.
void StreamedFeedForward::pass(const KernelTable& k, std::size_t tokens, Work& work) {
    StreamScratch& s = *scratch_;
    const BundleShape& shape = store_->shape();
    const std::size_t together = shape.cluster_neurons;
    if (layer_.gates.data != nullptr) multiply_packed(k, layer_.gates, s.input, s.gate.data());
    s.cached.clear();
    s.missing.clear();
    store_->plan_pass(layer_.network, s.cached, s.missing);
    std::vector<std::int32_t>& rows = s.rows;
    rows.clear();
    s.neurons.clear();
    std::int64_t* const hits[] = {&work.fixed_hits, &work.hot_hits, &work.cold_hits};
    for (const auto& [cluster, slot] : s.cached) {
        for (std::size_t j = 0; j < together && cluster * together + j < neurons(); ++j) {
            rows.push_back(static_cast<std::int32_t>(static_cast<std::size_t>(slot) * together + j));
            s.neurons.push_back(layer_.order[cluster * together + j]);
            ++*hits[static_cast<std::size_t>(store_->cache().region(slot))];
        }
    }
    if (!rows.empty()) {
        const PackedView gate = shape.resident_gates ? PackedView{} : store_->rows(Part::gate);
        take_rows(k, tokens, gate, store_->rows(Part::up), store_->rows(Part::down), rows.data());
    }
    store_->pass(layer_.network, s.missing, [&](const BundleStore::Chunk& chunk) {
        const std::size_t first = chunk.first * together;
        const std::size_t end = std::min(first + chunk.count * together, neurons());
        s.neurons.assign(layer_.order.begin() + static_cast<std::ptrdiff_t>(first),
                         layer_.order.begin() + static_cast<std::ptrdiff_t>(end));
        work.misses += static_cast<std::int64_t>(end - first);
        PackedView part{chunk.data, end - first, shape.hidden, shape.stride(), shape.bits};
        const PackedView gate = part;
        part.data += shape.row_bytes();
        const PackedView up = part;
        if (gated()) part.data += shape.row_bytes();
        take_rows(k, tokens, gate, up, part, nullptr);
    });
}

// Computes the rows of s.neurons (those of the views, or listed ones) for all tokens.
void StreamedFeedForward::take_rows(const KernelTable& k, std::size_t tokens, const PackedView& gate,
                                    const PackedView& up, const PackedView& down, const std::int32_t* rows) {
    StreamScratch& s = *scratch_;
    const std::size_t count = s.neurons.size();
    s.up.resize(tokens * count);
    if (layer_.gates.data == nullptr) {
        multiply_packed(k, gate, rows, count, s.input, s.up.data(), count);
        scatter(s.up.data(), tokens, s.gate.data());
    }
    if (gated()) {
        multiply_packed(k, up, rows, count, s.input, s.up.data(), count);
        scatter(s.up.data(), tokens, s.value.data());
    }
    const std::size_t width = store_->shape().row_bytes();
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t row = rows ? static_cast<std::size_t>(rows[i]) : i;
        std::memcpy(s.down + static_cast<std::size_t>(s.neurons[i]) * width, down.row(row), width);
    }
}

// to[t, neuron] = from[t, i] for each of s.neurons.
void StreamedFeedForward::scatter(const float* from, std::size_t tokens, float* to) const {
    const std::vector<std::int32_t>& list = scratch_->neurons;
    for (std::size_t t = 0; t < tokens; ++t) {
        float* row = to + t * neurons();
        for (std::size_t i = 0; i < list.size(); ++i) row[list[i]] = from[t * list.size() + i];
    }
}

}  // namespace fairlead

#include "fairlead/packed_feed_forward.hpp"

#include <algorithm>
#include <cstring>

#include "fairlead/packed_operators.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Candidates whose gates are computed before the up rows of the active among them, at least and at most. The first rows
// of either list are waited for, so there are as many as leave each thread two chunks.
constexpr std::size_t kFewest = 128, kMost = 512;

std::size_t neurons_per_chunk(std::size_t count) {
    const std::size_t share = count / (2 * ThreadPool::instance().threads()) + 1;
    return (std::clamp(share, kFewest, kMost) + 3) / 4 * 4;
}

// Moves the entries with a non-zero value to the front, in order; returns how many there are.
std::size_t compact(const std::int32_t* neurons, std::size_t first, std::size_t count, float* value,
                    std::int32_t* kept) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float v = value[i];
        kept[n] = neurons ? neurons[first + i] : static_cast<std::int32_t>(first + i);
        value[n] = v;
        n += v != 0.0F ? 1 : 0;
    }
    return n;
}

// Gate and up of candidates [begin, end): the active ones and their products go to the front of that range.
std::size_t gate_and_up(const KernelTable& k, const PackedFeedForwardView& layer, const QuantizedInput& x,
                        const std::int32_t* candidates, std::size_t begin, std::size_t end,
                        PackedFeedForwardScratch& s) {
    float* gate = s.gate.data() + begin;
    std::int32_t* neurons = s.neurons.data() + begin;
    k.dot_rows_packed(layer.gate, candidates, begin, end, x.view(), s.gate.data());
    add_bias_of(layer.gate_bias, candidates, begin, end - begin, gate);
    k.gate(layer.activation, layer.threshold, gate, end - begin);
    std::int32_t active[kMost + 1];
    float value[kMost + 1];
    std::memcpy(value, gate, (end - begin) * sizeof(float));
    const std::size_t n = compact(candidates, begin, end - begin, value, active);
    if (layer.gated()) {
        k.dot_rows_packed(layer.up, active, 0, n, x.view(), s.up.data() + begin);
        k.multiply_up(layer.activation, s.up.data() + begin, value, n);
    }
    std::memcpy(gate, value, n * sizeof(float));
    std::memcpy(neurons, active, n * sizeof(std::int32_t));
    return n;
}

// Joins what the chunks found; returns how many neurons are active.
std::size_t join(std::size_t count, std::size_t per_chunk, PackedFeedForwardScratch& s) {
    std::size_t n = 0;
    for (std::size_t c = 0; c * per_chunk < count; ++c) {
        const std::size_t from = c * per_chunk;
        std::memmove(s.gate.data() + n, s.gate.data() + from, s.found[c] * sizeof(float));
        std::memmove(s.neurons.data() + n, s.neurons.data() + from, s.found[c] * sizeof(std::int32_t));
        n += s.found[c];
    }
    return n;
}

}  // namespace

std::size_t feed_forward_packed(const KernelTable& k, const PackedFeedForwardView& layer, const QuantizedInput& x,
                                const std::int32_t* candidates, std::size_t count, PackedFeedForwardScratch& s,
                                float* y) {
    if (candidates == nullptr) count = layer.gate.rows;
    const std::size_t per_chunk = neurons_per_chunk(count);
    const std::size_t chunks = (count + per_chunk - 1) / per_chunk;
    s.gate.resize(count + 1);
    s.up.resize(count);
    s.neurons.resize(count + 1);
    s.contributing.resize(count + 1);
    s.found.resize(chunks);
    parallel_for(chunks, grain(per_chunk * layer.gate.columns), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
            const std::size_t last = std::min(count, (c + 1) * per_chunk);
            s.found[c] = static_cast<std::uint32_t>(gate_and_up(k, layer, x, candidates, c * per_chunk, last, s));
        }
    });
    const std::size_t active = join(count, per_chunk, s);
    const std::size_t terms = compact(s.neurons.data(), 0, active, s.gate.data(), s.contributing.data());
    sum_packed(k, layer.down_t, s.contributing.data(), s.gate.data(), terms, y);
    add_bias_of(layer.down_bias, nullptr, 0, layer.down_t.columns, y);
    s.neurons.resize(active);
    return active;
}

std::size_t feed_forward_packed_batch(const KernelTable& k, const PackedFeedForwardView& layer,
                                      const QuantizedInput& x, const std::int32_t* candidates, std::size_t count,
                                      PackedFeedForwardScratch& s, float* y, std::int64_t* counts) {
    if (candidates == nullptr) count = layer.gate.rows;
    const std::size_t tokens = x.batch();
    s.gate.resize(tokens * count);
    s.up.resize(tokens * count);
    multiply_packed(k, layer.gate, candidates, count, x, s.gate.data(), count);
    if (layer.gated()) multiply_packed(k, layer.up, candidates, count, x, s.up.data(), count);
    std::vector<std::size_t> active(tokens);
    parallel_for(tokens, grain(4 * count), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            float* gate = s.gate.data() + t * count;
            add_bias_of(layer.gate_bias, candidates, 0, count, gate);
            k.gate(layer.activation, layer.threshold, gate, count);
            active[t] = count - static_cast<std::size_t>(std::count(gate, gate + count, 0.0F));
            if (counts == nullptr && layer.gated()) k.multiply_up(layer.activation, s.up.data() + t * count, gate, count);
        }
    });
    std::size_t total = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
        total += active[t];
        if (counts == nullptr) continue;
        float* gate = s.gate.data() + t * count;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t neuron = candidates ? static_cast<std::size_t>(candidates[i]) : i;
            counts[neuron] += gate[i] != 0.0F ? 1 : 0;
        }
        if (layer.gated()) k.multiply_up(layer.activation, s.up.data() + t * count, gate, count);
    }
    sum_packed_batch(k, layer.down_t, candidates, s.gate.data(), count, tokens, y);
    const std::size_t width = layer.down_t.columns;
    for (std::size_t t = 0; t < tokens; ++t) add_bias_of(layer.down_bias, nullptr, 0, width, y + t * width);
    return total;
}

}  // namespace fairlead

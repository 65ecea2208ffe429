#include "fairlead/decoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fairlead/dispatch.hpp"
#include "fairlead/operators.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Bounds the buffers of a long prompt; a larger batch gains nothing.
constexpr std::size_t kTokensPerPass = 128;

void add_bias(const float* bias, std::size_t width, std::size_t count, float* x) {
    if (bias == nullptr) return;
    for (std::size_t t = 0; t < count; ++t) kernels_in_use().add(bias, x + t * width, width);
}

void apply(const Norm& norm, float epsilon, const float* x, std::size_t width, float* out) {
    const KernelTable& k = kernels_in_use();
    if (norm.weight == nullptr) {
        if (out != x) std::memcpy(out, x, width * sizeof(float));
    } else if (norm.bias == nullptr) {
        k.rmsnorm(x, norm.weight, epsilon, width, out);
    } else {
        k.layernorm(x, norm.weight, norm.bias, epsilon, width, out);
    }
}

void normalize_heads(const float* weight, float epsilon, std::size_t heads, std::size_t head_dim, float* x) {
    if (weight == nullptr) return;
    for (std::size_t h = 0; h < heads; ++h) {
        kernels_in_use().rmsnorm(x + h * head_dim, weight, epsilon, head_dim, x + h * head_dim);
    }
}

}  // namespace

Decoder::Decoder(DecoderShape shape, std::vector<LayerView> layers, Weight embedding, Norm final_norm, Weight head,
                 const KeyValueArena& arena)
    : shape_(std::move(shape)),
      layers_(std::move(layers)),
      embedding_(embedding),
      final_norm_(final_norm),
      head_(head),
      arena_(arena) {}

template <class T>
Pages<T> Decoder::pages(T* base, float* scale, std::size_t layer) const {
    const std::size_t heads = layer * shape_.pages * shape_.page_size * shape_.kv_heads;
    return {base + heads * shape_.head_dim, shape_.page_size, shape_.kv_heads, shape_.head_dim,
            scale != nullptr ? scale + heads : nullptr};
}

void Decoder::embed(const std::int32_t* tokens, std::size_t count, float* hidden) const {
    for (std::size_t t = 0; t < count; ++t) {
        dequantize_row(kernels_in_use(), embedding_, static_cast<std::size_t>(tokens[t]), hidden + t * shape_.hidden);
    }
}

void Decoder::add_position(std::size_t position, float* hidden) const {
    if (shape_.position_embedding == nullptr) return;
    kernels_in_use().add(shape_.position_embedding + position * shape_.hidden, hidden, shape_.hidden);
}

void Decoder::normalize(const float* hidden, const Norm& norm, std::size_t count) {
    const std::size_t width = shape_.hidden;
    normal_.resize(count * width);
    for (std::size_t t = 0; t < count; ++t) {
        apply(norm, shape_.norm_epsilon, hidden + t * width, width, normal_.data() + t * width);
    }
    input_.set(normal_.data(), count, width);
}

void Decoder::norm_before(const float* hidden, const Norm& norm, std::size_t count) {
    normalize(hidden, shape_.norm_first ? norm : Norm{}, count);
}

void Decoder::norm_after(float* hidden, const Norm& norm, std::size_t count) const {
    if (shape_.norm_first) return;
    const std::size_t width = shape_.hidden;
    for (std::size_t t = 0; t < count; ++t) {
        apply(norm, shape_.norm_epsilon, hidden + t * width, width, hidden + t * width);
    }
}

void Decoder::project(const LayerView& layer, std::size_t count) {
    const std::size_t query_width = shape_.heads * shape_.head_dim;
    const std::size_t key_width = shape_.kv_heads * shape_.head_dim;
    query_.resize(count * query_width);
    key_.resize(count * key_width);
    value_.resize(count * key_width);
    const Product products[] = {
        {&layer.query, query_.data()}, {&layer.key, key_.data()}, {&layer.value, value_.data()}};
    multiply(kernels_in_use(), products, 3, input_);
    add_bias(layer.query_bias, query_width, count, query_.data());
    add_bias(layer.key_bias, key_width, count, key_.data());
    add_bias(layer.value_bias, key_width, count, value_.data());
    if (!shape_.inverse_frequency.empty()) turn_to_places();
    for (std::size_t t = 0; t < count; ++t) rotate(layer, t);
}

void Decoder::turn_to_places() {
    const std::size_t half = shape_.head_dim / 2;
    bool same = turned_to_.size() == places_.size();
    for (std::size_t t = 0; same && t < places_.size(); ++t) same = turned_to_[t] == places_[t].position;
    if (same) return;
    turned_to_.resize(places_.size());
    cosine_.resize(places_.size() * half);
    sine_.resize(places_.size() * half);
    for (std::size_t t = 0; t < places_.size(); ++t) {
        turned_to_[t] = places_[t].position;
        for (std::size_t i = 0; i < half; ++i) {
            const float angle = static_cast<float>(places_[t].position) * shape_.inverse_frequency[i];
            cosine_[t * half + i] = std::cos(angle);
            sine_[t * half + i] = std::sin(angle);
        }
    }
}

void Decoder::rotate(const LayerView& layer, std::size_t token) {
    const KernelTable& k = kernels_in_use();
    const std::size_t half = shape_.head_dim / 2;
    float* query = query_.data() + token * shape_.heads * shape_.head_dim;
    float* key = key_.data() + token * shape_.kv_heads * shape_.head_dim;
    normalize_heads(layer.query_norm, shape_.norm_epsilon, shape_.heads, shape_.head_dim, query);
    normalize_heads(layer.key_norm, shape_.norm_epsilon, shape_.kv_heads, shape_.head_dim, key);
    if (shape_.inverse_frequency.empty()) return;
    k.rope(query, shape_.heads, shape_.head_dim, cosine_.data() + token * half, sine_.data() + token * half);
    k.rope(key, shape_.kv_heads, shape_.head_dim, cosine_.data() + token * half, sine_.data() + token * half);
}

void Decoder::store(std::size_t layer) const {
    const std::size_t width = shape_.kv_heads * shape_.head_dim;
    const auto put = [&](const float* x, auto* base, float* scales) {
        const auto to = pages(base, scales, layer);
        for (std::size_t t = 0; t < places_.size(); ++t) {
            const auto& [position, table] = places_[t];
            if constexpr (std::is_same_v<decltype(base), float*>) {
                std::memcpy(to.at(table, position), x + t * width, width * sizeof(float));
            } else {
                quantize_heads(kernels_in_use(), x + t * width, shape_.kv_heads, shape_.head_dim,
                               to.at(table, position), to.scale_at(table, position));
            }
        }
    };
    if (arena_.rounded()) {
        put(key_.data(), arena_.rounded_keys, arena_.key_scale);
        put(value_.data(), arena_.rounded_values, arena_.value_scale);
    } else {
        put(key_.data(), arena_.keys, nullptr);
        put(value_.data(), arena_.values, nullptr);
    }
}

template <class T>
AttentionOver<T> Decoder::task(T* keys, T* values, std::size_t layer, std::size_t token) {
    const std::size_t offset = token * shape_.heads * shape_.head_dim;
    AttentionOver<T> out;
    out.query = query_.data() + offset;
    out.keys = pages(keys, arena_.key_scale, layer);
    out.values = pages(values, arena_.value_scale, layer);
    out.page_table = places_[token].page_table;
    out.heads = shape_.heads;
    out.first_length = places_[token].position + 1;
    out.scale = shape_.attention_scale;
    out.out = mixed_.data() + offset;
    return out;
}

void Decoder::add_output(const LayerView& layer, float* hidden, std::size_t count) {
    residual_.resize(count * shape_.hidden);
    input_.set(mixed_.data(), count, shape_.heads * shape_.head_dim);
    const Product product{&layer.output, residual_.data()};
    multiply(kernels_in_use(), &product, 1, input_);
    add_bias(layer.output_bias, shape_.hidden, count, residual_.data());
    kernels_in_use().add(residual_.data(), hidden, count * shape_.hidden);
    norm_after(hidden, layer.attention_norm, count);
}

void Decoder::route_early(const LayerView& layer, const float* hidden, std::size_t count) const {
    if (layer.feed_forward == nullptr || !layer.feed_forward->routes_early()) return;
    layer.feed_forward->route_early(kernels_in_use(), hidden, count);
}

void Decoder::attend(std::size_t index, float* hidden, std::size_t count, std::size_t position,
                     const std::int32_t* page_table) {
    const LayerView& layer = layers_[index];
    places_.resize(count);
    for (std::size_t t = 0; t < count; ++t) places_[t] = {position + t, page_table};
    route_early(layer, hidden, count);
    norm_before(hidden, layer.attention_norm, count);
    project(layer, count);
    store(index);
    mixed_.resize(count * shape_.heads * shape_.head_dim);
    if (arena_.rounded()) {
        fairlead::attend(kernels_in_use(), task(arena_.rounded_keys, arena_.rounded_values, index, 0), count);
    } else {
        fairlead::attend(kernels_in_use(), task(arena_.keys, arena_.values, index, 0), count);
    }
    add_output(layer, hidden, count);
}

void Decoder::attend_many(std::size_t index, float* hidden, const Place* places, std::size_t count) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    places_.assign(places, places + count);
    route_early(layer, hidden, count);
    norm_before(hidden, layer.attention_norm, count);
    project(layer, count);
    store(index);
    mixed_.resize(count * shape_.heads * shape_.head_dim);
    std::size_t longest = 0;
    for (const Place& place : places_) longest = std::max(longest, place.position + 1);
    parallel_for(count * shape_.heads, grain(2 * longest * shape_.head_dim), 1, [&](std::size_t begin, std::size_t end) {
        while (begin < end) {
            const std::size_t token = begin / shape_.heads;
            const std::size_t last = std::min(end, (token + 1) * shape_.heads);
            const std::size_t first = begin - token * shape_.heads, stop = last - token * shape_.heads;
            if (arena_.rounded()) {
                k.attend_int8(task(arena_.rounded_keys, arena_.rounded_values, index, token), first, stop,
                              scratch(longest));
            } else {
                k.attend(task(arena_.keys, arena_.values, index, token), first, stop, scratch(longest));
            }
            begin = last;
        }
    });
    add_output(layer, hidden, count);
}

void Decoder::feed_forward(std::size_t index, float* hidden, std::size_t count, bool prompt, Work& work) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    norm_before(hidden, layer.feed_forward_norm, count);
    residual_.resize(count * shape_.hidden);
    if (prompt) {
        layer.feed_forward->batch(k, normal_.data(), count, residual_.data(), work);
    } else {
        layer.feed_forward->step(k, normal_.data(), residual_.data(), work);
    }
    k.add(residual_.data(), hidden, count * shape_.hidden);
    norm_after(hidden, layer.feed_forward_norm, count);
}

void Decoder::feed_forward_of(std::size_t index, float* hidden, const std::int32_t* neurons, std::size_t count,
                              Work& work) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    norm_before(hidden, layer.feed_forward_norm, 1);
    residual_.resize(shape_.hidden);
    layer.feed_forward->step_selected(k, normal_.data(), neurons, count, residual_.data(), work);
    k.add(residual_.data(), hidden, shape_.hidden);
    norm_after(hidden, layer.feed_forward_norm, 1);
}

// What the layer will read is guessed from the residual stream before its attention, which changes it by a part only.
void Decoder::prefetch(std::size_t index, const float* hidden, std::size_t count, Work& work) {
    const LayerView& layer = layers_[index];
    layer.feed_forward->prefetch();
    if (count != 1 || !layer.feed_forward->wants_guess()) return;
    norm_before(hidden, layer.feed_forward_norm, 1);
    layer.feed_forward->prefetch_for(kernels_in_use(), normal_.data(), work);
}

void Decoder::logits(const float* hidden, std::size_t count, float* out) {
    normalize(hidden, final_norm_, count);
    const Product product{&head_, out};
    multiply(kernels_in_use(), &product, 1, input_);
}

void Decoder::run(const std::int32_t* tokens, std::size_t count, std::size_t position,
                  const std::int32_t* page_table, bool prompt, bool all, float* out, Work* work) {
    hidden_.resize(std::min(count, kTokensPerPass) * shape_.hidden);
    for (std::size_t done = 0; done < count; done += kTokensPerPass) {
        const std::size_t n = std::min(kTokensPerPass, count - done);
        embed(tokens + done, n, hidden_.data());
        for (std::size_t t = 0; t < n; ++t) add_position(position + done + t, hidden_.data() + t * shape_.hidden);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            if (!prompt) prefetch(i, hidden_.data(), n, work[i]);
            attend(i, hidden_.data(), n, position + done, page_table);
            feed_forward(i, hidden_.data(), n, prompt, work[i]);
        }
        if (all) {
            logits(hidden_.data(), n, out + done * shape_.vocabulary);
        } else if (done + n == count) {
            logits(hidden_.data() + (n - 1) * shape_.hidden, 1, out);
        }
    }
}

void Decoder::run_many(const std::int32_t* tokens, const Place* places, std::size_t count, float* out,
                       std::int32_t* active, Work* work) {
    const KernelTable& k = kernels_in_use();
    hidden_.resize(count * shape_.hidden);
    embed(tokens, count, hidden_.data());
    for (std::size_t t = 0; t < count; ++t) add_position(places[t].position, hidden_.data() + t * shape_.hidden);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        FeedForward& source = *layers_[i].feed_forward;
        source.prefetch();
        attend_many(i, hidden_.data(), places, count);
        norm_before(hidden_.data(), layers_[i].feed_forward_norm, count);
        residual_.resize(count * shape_.hidden);
        source.step_many(k, normal_.data(), count, shape_.hidden, residual_.data(), active + i * count, work[i]);
        k.add(residual_.data(), hidden_.data(), count * shape_.hidden);
        norm_after(hidden_.data(), layers_[i].feed_forward_norm, count);
    }
    logits(hidden_.data(), count, out);
}

}  // namespace fairlead

#include "fairlead/decoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "fairlead/dispatch.hpp"
#include "fairlead/operators.hpp"

namespace fairlead {
namespace {

// Bounds the buffers of a long prompt; a larger batch gains nothing.
constexpr std::size_t kTokensPerPass = 128;

void add_bias(const float* bias, std::size_t width, std::size_t count, float* x) {
    if (bias == nullptr) return;
    for (std::size_t t = 0; t < count; ++t) kernels_in_use().add(bias, x + t * width, width);
}

void normalize_heads(const float* weight, float epsilon, std::size_t heads, std::size_t head_dim, float* x) {
    if (weight == nullptr) return;
    for (std::size_t h = 0; h < heads; ++h) {
        kernels_in_use().rmsnorm(x + h * head_dim, weight, epsilon, head_dim, x + h * head_dim);
    }
}

}  // namespace

Decoder::Decoder(DecoderShape shape, std::vector<LayerView> layers, Q8View embedding, const float* final_norm,
                 Q8View head, float* key_pages, float* value_pages)
    : shape_(std::move(shape)),
      layers_(std::move(layers)),
      embedding_(embedding),
      final_norm_(final_norm),
      head_(head),
      key_pages_(key_pages),
      value_pages_(value_pages),
      cosine_(shape_.head_dim / 2),
      sine_(shape_.head_dim / 2) {}

PageView Decoder::pages(float* base, std::size_t layer) const {
    const std::size_t layer_size = shape_.pages * shape_.page_size * shape_.kv_heads * shape_.head_dim;
    return {base + layer * layer_size, shape_.page_size, shape_.kv_heads, shape_.head_dim};
}

void Decoder::embed(const std::int32_t* tokens, std::size_t count, float* hidden) const {
    for (std::size_t t = 0; t < count; ++t) {
        const auto row = static_cast<std::size_t>(tokens[t]);
        kernels_in_use().dequantize(embedding_, row, row + 1, hidden + t * shape_.hidden);
    }
}

void Decoder::normalize(const float* hidden, const float* weight, std::size_t count) {
    const std::size_t width = shape_.hidden;
    normal_.resize(count * width);
    for (std::size_t t = 0; t < count; ++t) {
        kernels_in_use().rmsnorm(hidden + t * width, weight, shape_.norm_epsilon, width, normal_.data() + t * width);
    }
}

void Decoder::project(const LayerView& layer, std::size_t count, std::size_t position) {
    const KernelTable& k = kernels_in_use();
    const std::size_t query_width = layer.query.rows;
    const std::size_t key_width = layer.key.rows;
    query_.resize(count * query_width);
    key_.resize(count * key_width);
    value_.resize(count * key_width);
    multiply(k, layer.query, normal_.data(), count, query_.data());
    multiply(k, layer.key, normal_.data(), count, key_.data());
    multiply(k, layer.value, normal_.data(), count, value_.data());
    add_bias(layer.query_bias, query_width, count, query_.data());
    add_bias(layer.key_bias, key_width, count, key_.data());
    add_bias(layer.value_bias, key_width, count, value_.data());
    for (std::size_t t = 0; t < count; ++t) rotate(layer, t, position + t);
}

void Decoder::rotate(const LayerView& layer, std::size_t token, std::size_t position) {
    const KernelTable& k = kernels_in_use();
    float* query = query_.data() + token * layer.query.rows;
    float* key = key_.data() + token * layer.key.rows;
    normalize_heads(layer.query_norm, shape_.norm_epsilon, shape_.heads, shape_.head_dim, query);
    normalize_heads(layer.key_norm, shape_.norm_epsilon, shape_.kv_heads, shape_.head_dim, key);
    for (std::size_t i = 0; i < cosine_.size(); ++i) {
        const float angle = static_cast<float>(position) * shape_.inverse_frequency[i];
        cosine_[i] = std::cos(angle);
        sine_[i] = std::sin(angle);
    }
    k.rope(query, shape_.heads, shape_.head_dim, cosine_.data(), sine_.data());
    k.rope(key, shape_.kv_heads, shape_.head_dim, cosine_.data(), sine_.data());
}

void Decoder::store(const PageView& keys, const PageView& values, std::size_t count, std::size_t position,
                    const std::int32_t* page_table) const {
    const std::size_t width = shape_.kv_heads * shape_.head_dim;
    for (std::size_t t = 0; t < count; ++t) {
        std::memcpy(keys.at(page_table, position + t), key_.data() + t * width, width * sizeof(float));
        std::memcpy(values.at(page_table, position + t), value_.data() + t * width, width * sizeof(float));
    }
}

void Decoder::attend(std::size_t index, float* hidden, std::size_t count, std::size_t position,
                     const std::int32_t* page_table) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    const std::size_t width = shape_.hidden;
    normalize(hidden, layer.attention_norm, count);
    project(layer, count, position);
    const PageView keys = pages(key_pages_, index);
    const PageView values = pages(value_pages_, index);
    store(keys, values, count, position, page_table);
    mixed_.resize(count * layer.query.rows);
    const AttentionTask task{query_.data(), keys,         values,
                             page_table,    shape_.heads, position + 1,
                             shape_.attention_scale,      mixed_.data()};
    fairlead::attend(k, task, count);
    residual_.resize(count * width);
    multiply(k, layer.output, mixed_.data(), count, residual_.data());
    k.add(residual_.data(), hidden, count * width);
}

void Decoder::feed_forward(std::size_t index, float* hidden, std::size_t count, Work& work) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    normalize(hidden, layer.feed_forward_norm, count);
    residual_.resize(count * shape_.hidden);
    if (count == 1) {
        layer.feed_forward->step(k, normal_.data(), residual_.data(), work);
    } else {
        layer.feed_forward->batch(k, normal_.data(), count, residual_.data(), work);
    }
    k.add(residual_.data(), hidden, count * shape_.hidden);
}

void Decoder::feed_forward_of(std::size_t index, float* hidden, const std::int32_t* neurons, std::size_t count,
                              Work& work) {
    const KernelTable& k = kernels_in_use();
    const LayerView& layer = layers_[index];
    normalize(hidden, layer.feed_forward_norm, 1);
    residual_.resize(shape_.hidden);
    layer.feed_forward->step_selected(k, normal_.data(), neurons, count, residual_.data(), work);
    k.add(residual_.data(), hidden, shape_.hidden);
}

void Decoder::logits(const float* hidden, std::size_t count, float* out) {
    normalize(hidden, final_norm_, count);
    multiply(kernels_in_use(), head_, normal_.data(), count, out);
}

void Decoder::run(const std::int32_t* tokens, std::size_t count, std::size_t position,
                  const std::int32_t* page_table, bool all, float* out, Work* work) {
    hidden_.resize(std::min(count, kTokensPerPass) * shape_.hidden);
    for (std::size_t done = 0; done < count; done += kTokensPerPass) {
        const std::size_t n = std::min(kTokensPerPass, count - done);
        embed(tokens + done, n, hidden_.data());
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            if (n == 1) layers_[i].feed_forward->prefetch();
            attend(i, hidden_.data(), n, position + done, page_table);
            feed_forward(i, hidden_.data(), n, work[i]);
        }
        if (all) {
            logits(hidden_.data(), n, out + done * shape_.vocabulary);
        } else if (done + n == count) {
            logits(hidden_.data() + (n - 1) * shape_.hidden, 1, out);
        }
    }
}

}  // namespace fairlead

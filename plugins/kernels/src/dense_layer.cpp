#include "fairlead/dense_layer.hpp"

#include <algorithm>
#include <vector>

#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Chunks of rows that whole tiles of every ISA fill.
constexpr std::size_t kAlign = 12;

// What the calling thread hands to the others; `scratch` is theirs.
struct Buffers {
    std::vector<float> normal, active, up, added;
};

float* sized(std::vector<float>& buffer, std::size_t count) {
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
}

Buffers& buffers() {
    thread_local Buffers own;
    return own;
}

void normalize(const KernelTable& k, const float* x, const float* weight, float epsilon, std::size_t tokens,
               std::size_t width, float* out) {
    parallel_for(tokens, grain(4 * width), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) k.rmsnorm(x + t * width, weight, epsilon, width, out + t * width);
    });
}

// Columns [begin, end) of each of some vectors get a bias.
void add_bias(const KernelTable& k, const float* bias, std::size_t begin, std::size_t end, std::size_t tokens,
              std::size_t stride, float* out) {
    if (bias == nullptr) return;
    for (std::size_t t = 0; t < tokens; ++t) k.add(bias + begin, out + t * stride + begin, end - begin);
}

// out = x matrix^T + bias, for rows [begin, end) of a matrix [rows, columns].
void project(const KernelTable& k, const float* matrix, const float* bias, std::size_t rows, std::size_t columns,
             std::size_t begin, std::size_t end, const float* x, std::size_t tokens, float* out) {
    k.multiply_floats(matrix, columns, begin, end, x, tokens, out, rows);
    add_bias(k, bias, begin, end, tokens, rows, out);
}

// out += x matrix^T + bias.
void project_and_add(const KernelTable& k, const float* matrix, const float* bias, std::size_t rows,
                     std::size_t columns, const float* x, std::size_t tokens, float* product, const float* before,
                     float* out) {
    parallel_for(rows, grain(columns * tokens), kAlign, [&](std::size_t begin, std::size_t end) {
        project(k, matrix, bias, rows, columns, begin, end, x, tokens, product);
        for (std::size_t t = 0; t < tokens; ++t) {
            float* to = out + t * rows + begin;
            if (before != out) std::copy_n(before + t * rows + begin, end - begin, to);
            k.add(product + t * rows + begin, to, end - begin);
        }
    });
}

void turn_heads(const KernelTable& k, const DenseLayerView& layer, const float* norm, float* heads, std::size_t count,
                const float* cosine, const float* sine) {
    const std::size_t width = layer.head_dim;
    for (std::size_t h = 0; h < count && norm != nullptr; ++h) {
        k.rmsnorm(heads + h * width, norm, layer.epsilon, width, heads + h * width);
    }
    k.rope(heads, count, width, cosine, sine);
}

}  // namespace

void dense_before(const KernelTable& k, const DenseLayerView& layer, const float* hidden, std::size_t tokens,
                  const float* cosine, const float* sine, float* queries, float* keys, float* values) {
    float* normal = sized(buffers().normal, tokens * layer.hidden);
    normalize(k, hidden, layer.input_norm, layer.epsilon, tokens, layer.hidden, normal);
    const std::size_t wide = layer.heads * layer.head_dim, narrow = layer.kv_heads * layer.head_dim;
    const struct {
        std::size_t first, rows;
        float* out;
    } parts[] = {{0, wide, queries}, {wide, narrow, keys}, {wide + narrow, narrow, values}};
    parallel_for(layer.joined(), grain(layer.hidden * tokens), kAlign, [&](std::size_t begin, std::size_t end) {
        for (const auto& part : parts) {
            const std::size_t from = std::max(begin, part.first), to = std::min(end, part.first + part.rows);
            if (from >= to) continue;
            const float* bias = layer.qkv_bias == nullptr ? nullptr : layer.qkv_bias + part.first;
            project(k, layer.qkv + part.first * layer.hidden, bias, part.rows, layer.hidden, from - part.first,
                    to - part.first, normal, tokens, part.out);
        }
    });
    const std::size_t half = layer.head_dim / 2;
    parallel_for(tokens, grain(8 * (wide + narrow)), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            const float *c = cosine + t * half, *s = sine + t * half;
            turn_heads(k, layer, layer.q_norm, queries + t * wide, layer.heads, c, s);
            turn_heads(k, layer, layer.k_norm, keys + t * narrow, layer.kv_heads, c, s);
        }
    });
}

void dense_after(const KernelTable& k, const DenseLayerView& layer, const float* hidden, const float* seen,
                 std::size_t tokens, float* out) {
    Buffers& own = buffers();
    const std::size_t width = layer.hidden, neurons = layer.neurons;
    float* added = sized(own.added, tokens * width);
    project_and_add(k, layer.o, layer.o_bias, width, layer.heads * layer.head_dim, seen, tokens, added, hidden, out);
    float* normal = sized(own.normal, tokens * width);
    normalize(k, out, layer.post_norm, layer.epsilon, tokens, width, normal);
    float *active = sized(own.active, tokens * neurons), *up = sized(own.up, tokens * neurons);
    const float* up_bias = layer.inner_bias == nullptr ? nullptr : layer.inner_bias + neurons;
    parallel_for(neurons, grain(2 * width * tokens), kAlign, [&](std::size_t begin, std::size_t end) {
        project(k, layer.inner, layer.inner_bias, neurons, width, begin, end, normal, tokens, active);
        project(k, layer.inner + neurons * width, up_bias, neurons, width, begin, end, normal, tokens, up);
        for (std::size_t t = 0; t < tokens; ++t) {
            float* x = active + t * neurons + begin;
            k.gate(layer.activation, layer.threshold, x, end - begin);
            k.multiply_up(layer.activation, up + t * neurons + begin, x, end - begin);
        }
    });
    project_and_add(k, layer.down, layer.down_bias, width, neurons, active, tokens, added, out, out);
}

}  // namespace fairlead

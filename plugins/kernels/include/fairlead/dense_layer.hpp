#pragma once

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// A decoder layer of float32 matrices [outputs, inputs] without its attention. What a model lacks is null.
struct DenseLayerView {
    std::size_t hidden = 0;
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t neurons = 0;
    float epsilon = 0.0F;
    Activation activation = Activation::swiglu;
    float threshold = 0.0F;
    const float* input_norm = nullptr;
    const float* qkv = nullptr;        // queries, keys, values below each other
    const float* qkv_bias = nullptr;
    const float* q_norm = nullptr;     // of each head
    const float* k_norm = nullptr;
    const float* o = nullptr;
    const float* o_bias = nullptr;
    const float* post_norm = nullptr;
    const float* inner = nullptr;      // gate, up below each other
    const float* inner_bias = nullptr;
    const float* down = nullptr;
    const float* down_bias = nullptr;

    std::size_t joined() const { return (heads + 2 * kv_heads) * head_dim; }
};

// What comes before attention: normalization, the three projections, normalization of heads, rotary embedding by
// cosine and sine [tokens, head_dim / 2]. queries [tokens, heads, head_dim]; keys, values [tokens, kv_heads, head_dim].
// A token's bits depend neither on the threads nor on the others.
void dense_before(const KernelTable& k, const DenseLayerView& layer, const float* hidden, std::size_t tokens,
                  const float* cosine, const float* sine, float* queries, float* keys, float* values);

// What comes after it: the output projection of seen [tokens, heads * head_dim], and the feed-forward network, each
// added to what was before. out [tokens, hidden] must not be hidden.
void dense_after(const KernelTable& k, const DenseLayerView& layer, const float* hidden, const float* seen,
                 std::size_t tokens, float* out);

}  // namespace fairlead

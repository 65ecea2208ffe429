#pragma once

#include "kernels/elementwise.hpp"

namespace fairlead::kernels {

// Rotary position embedding (Su et al. 2021) in the half-rotation layout: dimension i pairs with i + head_dim / 2.
template <class V>
void rope(float* heads, std::size_t count, std::size_t head_dim, const float* cosine, const float* sine) {
    const std::size_t half = head_dim / 2;
    for (std::size_t h = 0; h < count; ++h) {
        float* low = heads + h * head_dim;
        float* high = low + half;
        for (std::size_t i = 0; i < half; i += V::width) {
            const std::size_t n = half - i < static_cast<std::size_t>(V::width) ? half - i : V::width;
            const typename V::Vec a = load_within<V>(low, i, half);
            const typename V::Vec b = load_within<V>(high, i, half);
            const typename V::Vec c = load_within<V>(cosine, i, half);
            const typename V::Vec s = load_within<V>(sine, i, half);
            V::store_n(low + i, V::sub(V::mul(a, c), V::mul(b, s)), n);
            V::store_n(high + i, V::add(V::mul(b, c), V::mul(a, s)), n);
        }
    }
}

}  // namespace fairlead::kernels

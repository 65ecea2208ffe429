#pragma once

#include "kernels/elementwise.hpp"

namespace fairlead::kernels {

// out = x / sqrt(mean(x^2) + epsilon) * weight, Zhang and Sennrich 2019; out may be x.
template <class V>
void rmsnorm(const float* x, const float* weight, float epsilon, std::size_t count, float* out) {
    typename V::Vec squares = V::zero();
    for (std::size_t i = 0; i < count; i += V::width) {
        const typename V::Vec value = load_within<V>(x, i, count);
        squares = V::fma(value, value, squares);
    }
    const float mean = V::sum(squares) / static_cast<float>(count);
    const typename V::Vec inverse = V::set1(1.0F / __builtin_sqrtf(mean + epsilon));
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) {
        V::store(out + i, V::mul(V::mul(V::load(x + i), inverse), V::load(weight + i)));
    }
    if (i < count) {
        const std::size_t n = count - i;
        V::store_n(out + i, V::mul(V::mul(V::load_n(x + i, n), inverse), V::load_n(weight + i, n)), n);
    }
}

}  // namespace fairlead::kernels

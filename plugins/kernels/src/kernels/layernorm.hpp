#pragma once

#include "kernels/elementwise.hpp"

namespace fairlead::kernels {

// out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, Ba et al. 2016; out may be x.
template <class V>
void layernorm(const float* x, const float* weight, const float* bias, float epsilon, std::size_t count, float* out) {
    typename V::Vec total = V::zero();
    for (std::size_t i = 0; i < count; i += V::width) total = V::add(total, load_within<V>(x, i, count));
    const float mean = V::sum(total) / static_cast<float>(count);
    const typename V::Vec shift = V::set1(mean);
    typename V::Vec squares = V::zero();
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) {
        const typename V::Vec value = V::sub(V::load(x + i), shift);
        squares = V::fma(value, value, squares);
    }
    float variance = V::sum(squares);
    // The lanes past the end would count as -mean.
    for (std::size_t j = i; j < count; ++j) variance += (x[j] - mean) * (x[j] - mean);
    const float inverse = 1.0F / __builtin_sqrtf(variance / static_cast<float>(count) + epsilon);
    if (out != x) __builtin_memcpy(out, x, count * sizeof(float));
    transform<V>(out, count, [=](typename V::Vec value, std::size_t at) {
        const typename V::Vec scaled = V::mul(V::sub(value, shift), V::set1(inverse));
        return V::fma(scaled, load_within<V>(weight, at, count), load_within<V>(bias, at, count));
    });
}

}  // namespace fairlead::kernels

#pragma once

#include "kernels/elementwise.hpp"
#include "kernels/exponential.hpp"

namespace fairlead::kernels {

template <class V>
FAIRLEAD_INLINE float largest_value(const float* x, std::size_t count) {
    float best = x[0];
    std::size_t i = 0;
    if (count >= static_cast<std::size_t>(V::width)) {
        typename V::Vec lanes = V::load(x);
        for (i = V::width; i + V::width <= count; i += V::width) lanes = V::max(lanes, V::load(x + i));
        best = V::largest(lanes);
    }
    for (; i < count; ++i) best = x[i] > best ? x[i] : best;
    return best;
}

// x[i] = exp(x[i] - max x); returns their sum. The shift keeps every exponent at or below zero.
template <class V>
FAIRLEAD_INLINE float exponentiate(float* x, std::size_t count) {
    const typename V::Vec shift = V::set1(largest_value<V>(x, count));
    typename V::Vec sum = V::zero();
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) {
        const typename V::Vec value = exponential<V>(V::sub(V::load(x + i), shift));
        V::store(x + i, value);
        sum = V::add(sum, value);
    }
    if (i < count) {
        V::store_n(x + i, exponential<V>(V::sub(V::load_n(x + i, count - i), shift)), count - i);
        sum = V::add(sum, V::load_n(x + i, count - i));
    }
    return V::sum(sum);
}

template <class V>
void softmax(float* x, std::size_t count) {
    const typename V::Vec inverse = V::set1(1.0F / exponentiate<V>(x, count));
    transform<V>(x, count, [=](typename V::Vec v, std::size_t) { return V::mul(v, inverse); });
}

}  // namespace fairlead::kernels

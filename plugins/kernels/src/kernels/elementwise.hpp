#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

// x[i] = f(x[i]) with a masked tail; f takes the vector and its offset and length.
template <class V, class F>
FAIRLEAD_INLINE void transform(float* x, std::size_t count, F f) {
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) V::store(x + i, f(V::load(x + i), i));
    if (i < count) V::store_n(x + i, f(V::load_n(x + i, count - i), i), count - i);
}

// Like V::load, but reads only what [offset, count) holds.
template <class V>
FAIRLEAD_INLINE typename V::Vec load_within(const float* x, std::size_t offset, std::size_t count) {
    return offset + V::width <= count ? V::load(x + offset) : V::load_n(x + offset, count - offset);
}

template <class V>
void add(const float* y, float* x, std::size_t count) {
    transform<V>(x, count, [=](typename V::Vec value, std::size_t i) {
        return V::add(value, load_within<V>(y, i, count));
    });
}

}  // namespace fairlead::kernels

#pragma once

#include "fairlead/views.hpp"

namespace fairlead::kernels {

template <class V>
void dequantize(const Q8View& matrix, std::size_t begin, std::size_t end, float* out) {
    for (std::size_t row = begin; row < end; ++row) {
        const std::int8_t* q = matrix.row(row);
        float* target = out + (row - begin) * matrix.columns;
        for (std::size_t g = 0; g < matrix.groups(); ++g) {
            const typename V::Vec scale = V::set1_half(matrix.row_scale(row) + g);
            for (std::size_t c = g * kGroup; c < (g + 1) * kGroup; c += V::width) {
                V::store(target + c, V::mul(V::from_int8(q + c), scale));
            }
        }
    }
}

template <class V>
void quantize_group(const float* x, float scale, std::int8_t* q) {
    if (scale == 0.0F) {
        __builtin_memset(q, 0, kGroup);
        return;
    }
    const typename V::Vec divisor = V::set1(scale);
    const typename V::Vec low = V::set1(-127.0F);
    const typename V::Vec high = V::set1(127.0F);
    for (std::size_t c = 0; c < kGroup; c += V::width) {
        const typename V::Vec ratio = V::div(V::load(x + c), divisor);
        V::to_int8(q + c, V::min(high, V::max(low, V::round(ratio))));
    }
}

template <class V>
float largest_magnitude(const float* x, std::size_t count) {
    typename V::Vec best = V::zero();
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) best = V::max(best, V::abs(V::load(x + i)));
    if (i < count) best = V::max(best, V::abs(V::load_n(x + i, count - i)));
    return V::largest(best);
}

}  // namespace fairlead::kernels

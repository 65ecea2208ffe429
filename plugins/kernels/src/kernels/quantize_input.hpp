#pragma once

#include "fairlead/quantized_input.hpp"
#include "kernels/elementwise.hpp"

namespace fairlead::kernels {

// Groups of smaller activations count as zeros: 127 / x must stay finite.
inline constexpr float kSmallestActivation = 1e-30F;

// How a run of values is rounded: the largest magnitude becomes 127.
struct Rounding {
    bool finite;
    float inverse;
    float scale;  // NaN where a value is not finite
};

template <class V>
FAIRLEAD_INLINE Rounding rounding_of(const float* x, std::size_t count) {
    typename V::Vec largest = V::zero();
    typename V::Vec zeros = V::zero();
    for (std::size_t c = 0; c < count; c += V::width) {
        const typename V::Vec value = load_within<V>(x, c, count);
        largest = V::max(largest, V::abs(value));
        zeros = V::fma(value, V::zero(), zeros);
    }
    const float magnitude = V::largest(largest);
    const bool finite = V::sum(zeros) == 0.0F;
    if (!finite) return {false, 0.0F, __builtin_nanf("")};
    if (!(magnitude >= kSmallestActivation)) return {true, 0.0F, 0.0F};
    return {true, 127.0F / magnitude, magnitude / 127.0F};
}

// To nearest even. A value that is not finite times zero is NaN, which must not be converted.
template <class V>
FAIRLEAD_INLINE typename V::Vec rounded(typename V::Vec value, const Rounding& rounding) {
    return rounding.finite ? V::round(V::mul(value, V::set1(rounding.inverse))) : V::zero();
}

// q[0, kGroup) = the rounded group; returns its scale and the sum of q.
template <class V>
FAIRLEAD_INLINE float quantize_lane(const float* x, std::int8_t* q, std::int32_t& sum) {
    const Rounding rounding = rounding_of<V>(x, kGroup);
    typename V::Vec total = V::zero();
    FAIRLEAD_UNROLL
    for (std::size_t c = 0; c < kGroup; c += V::width) {
        const typename V::Vec value = rounded<V>(V::load(x + c), rounding);
        V::to_int8(q + c, value);
        total = V::add(total, value);
    }
    sum = static_cast<std::int32_t>(V::sum(total));
    return rounding.scale;
}

// Any number of values with one scale, which is returned.
template <class V>
float quantize_head(const float* x, std::size_t count, std::int8_t* q) {
    const Rounding rounding = rounding_of<V>(x, count);
    std::size_t c = 0;
    for (; c + V::width <= count; c += V::width) V::to_int8(q + c, rounded<V>(V::load(x + c), rounding));
    if (c < count) {
        std::int8_t lanes[V::width];
        V::to_int8(lanes, rounded<V>(V::load_n(x + c, count - c), rounding));
        __builtin_memcpy(q + c, lanes, count - c);
    }
    return rounding.scale;
}

// Rounds a vector into place b of the input.
template <class V>
void quantize_input(const float* x, std::size_t columns, const InputView& out, std::size_t b) {
    const std::size_t groups = columns / kGroup;
    for (std::size_t g = 0; g < out.lanes; ++g) {
        const std::size_t start = g / kLanes * kLanes;
        const std::size_t left = out.lanes - start;
        const std::size_t pitch = 4 * (left < kLanes ? left : kLanes);
        std::int8_t q[kGroup] = {};
        std::int32_t sum = 0;
        out.scale(b)[g] = g < groups ? quantize_lane<V>(x + g * kGroup, q, sum) : 0.0F;
        out.correction(b, 4)[g] = -8 * sum;
        out.correction(b, 8)[g] = -128 * sum;
        std::uint8_t* target = out.q(b) + start * kGroup + 4 * (g - start);
        for (std::size_t v = 0; v < 8; ++v) __builtin_memcpy(target + v * pitch, q + 4 * v, 4);
    }
}

}  // namespace fairlead::kernels

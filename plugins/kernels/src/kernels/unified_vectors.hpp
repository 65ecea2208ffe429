#pragma once

#include "fairlead/half.hpp"
#include "fairlead/unified_pages.hpp"

namespace fairlead::kernels {

// Elements rounded up to whole vectors.
template <class V>
FAIRLEAD_INLINE std::size_t padded(std::size_t count) {
    return (count + V::width - 1) / V::width * V::width;
}

// out[i] = scale * (bits Shift.. of code i) + zero; exact before the sum, as a code has at most 8 bits and a scale 11.
template <class V, int Shift, int Bits>
FAIRLEAD_INLINE void expand_plane(const std::uint8_t* codes, std::size_t count, float scale, float zero, float* out) {
    const typename V::Vec scales = V::set1(scale), zeros = V::set1(zero);
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) {
        V::store(out + i, V::fma(V::template field<Shift, Bits>(V::widen(codes + i)), scales, zeros));
    }
    for (; i < count; ++i) out[i] = static_cast<float>(codes[i] >> Shift & ((1 << Bits) - 1)) * scale + zero;
}

template <class V>
FAIRLEAD_INLINE void expand_half(const std::uint8_t* stored, std::size_t count, float* out) {
    const std::uint16_t* halves = reinterpret_cast<const std::uint16_t*>(stored);
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) V::store(out + i, V::from_half(halves + i, V::width));
    if (i < count) V::store_n(out + i, V::from_half(halves + i, count - i), count - i);
}

// The floats that one stored vector of `count` elements stands for; what pads it to whole vectors becomes zero. Planes
// of 4 and 2 bits: byte j holds elements j, j + count * bits / 8, ... from the lowest bits on.
template <class V>
FAIRLEAD_INLINE void expand(int bits, const std::uint8_t* stored, const std::uint16_t* meta, std::size_t count,
                            float* out) {
    for (std::size_t i = count; i < padded<V>(count); ++i) out[i] = 0.0F;
    if (bits == 32) {
        __builtin_memcpy(out, stored, count * sizeof(float));
        return;
    }
    if (bits == 16) {
        expand_half<V>(stored, count, out);
        return;
    }
    const float scale = half_to_float(meta[0]), zero = half_to_float(meta[1]);
    if (bits == 8) {
        expand_plane<V, 0, 8>(stored, count, scale, zero, out);
    } else if (bits == 4) {
        expand_plane<V, 0, 4>(stored, count / 2, scale, zero, out);
        expand_plane<V, 4, 4>(stored, count / 2, scale, zero, out + count / 2);
    } else {
        expand_plane<V, 0, 2>(stored, count / 4, scale, zero, out);
        expand_plane<V, 2, 2>(stored, count / 4, scale, zero, out + count / 4);
        expand_plane<V, 4, 2>(stored, count / 4, scale, zero, out + count / 2);
        expand_plane<V, 6, 2>(stored, count / 4, scale, zero, out + count / 4 * 3);
    }
}

// Where the vectors of keys or of values of a page lie.
struct VectorSegment {
    int bits;
    std::size_t start;
    std::size_t meta;
    std::size_t bytes;  // of one vector

    FAIRLEAD_INLINE std::uint8_t* at(std::uint8_t* page, std::size_t slot) const { return page + start + slot * bytes; }
    FAIRLEAD_INLINE std::uint16_t* meta_at(std::uint8_t* page, std::size_t slot) const {
        return reinterpret_cast<std::uint16_t*>(page + meta) + 2 * slot;
    }
};

FAIRLEAD_INLINE VectorSegment key_segment(const PageFormat& format, std::size_t head_dim) {
    return {format.key_bits, format.keys, format.key_meta, format.key_bits * head_dim / 8};
}
FAIRLEAD_INLINE VectorSegment value_segment(const PageFormat& format, std::size_t head_dim) {
    return {format.value_bits, format.values, format.value_meta, format.value_bits * head_dim / 8};
}

// The most elements that a vector may have.
inline constexpr std::size_t kMostElements = 1024;

// Floats of the stored vectors at some places: out [count, head_dim].
template <class V>
void read_vectors(const TokenPlace* places, std::size_t count, bool values, const PageFormat& format,
                  std::size_t head_dim, float* out) {
    const VectorSegment segment = values ? value_segment(format, head_dim) : key_segment(format, head_dim);
    float row[kMostElements + V::width];
    for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t* page = places[i].page;
        expand<V>(segment.bits, segment.at(page, places[i].slot), segment.meta_at(page, places[i].slot), head_dim, row);
        __builtin_memcpy(out + i * head_dim, row, head_dim * sizeof(float));
    }
}

// Magnitudes that a float16 has not are cut off.
inline constexpr float kLargestHalf = 65504.0F;

FAIRLEAD_INLINE float cut(float x) { return x < -kLargestHalf ? -kLargestHalf : x > kLargestHalf ? kLargestHalf : x; }

template <class V>
FAIRLEAD_INLINE void store_halves(const float* x, std::size_t count, std::uint8_t* stored) {
    std::uint16_t* halves = reinterpret_cast<std::uint16_t*>(stored);
    const typename V::Vec least = V::set1(-kLargestHalf), most = V::set1(kLargestHalf);
    for (std::size_t i = 0; i < count; i += V::width) {
        const std::size_t left = count - i < static_cast<std::size_t>(V::width) ? count - i : V::width;
        const typename V::Vec value = left == static_cast<std::size_t>(V::width) ? V::load(x + i) : V::load_n(x + i, left);
        V::to_half(halves + i, V::min(most, V::max(least, value)), left);
    }
}

// Rounds a finite vector to unsigned codes with a scale and a zero point, both float16; codes in planes.
template <class V>
FAIRLEAD_INLINE void store_codes(const float* x, std::size_t count, int bits, std::uint8_t* stored,
                                 std::uint16_t* meta) {
    typename V::Vec lows = V::set1(x[0]), highs = lows;
    std::size_t at = 0;
    for (; at + V::width <= count; at += V::width) {
        lows = V::min(lows, V::load(x + at));
        highs = V::max(highs, V::load(x + at));
    }
    float low = -V::largest(V::sub(V::zero(), lows)), high = V::largest(highs);
    for (; at < count; ++at) {
        low = x[at] < low ? x[at] : low;
        high = x[at] > high ? x[at] : high;
    }
    low = cut(low);
    high = cut(high);
    const std::int32_t most = (1 << bits) - 1;
    meta[0] = float_to_half((high - low) / static_cast<float>(most));
    meta[1] = float_to_half(low);
    const float scale = half_to_float(meta[0]), zero = half_to_float(meta[1]);
    const std::size_t width = count * bits / 8;
    for (std::size_t i = 0; i < width; ++i) stored[i] = 0;
    if (scale == 0.0F) return;
    for (int plane = 0; plane < 8 / bits; ++plane) {
        const float* part = x + plane * width;
        for (std::size_t i = 0; i < width; ++i) {
            // Towards zero is towards minus infinity here: what is negative becomes 0 either way.
            float place = (cut(part[i]) - zero) / scale + 0.5F;
            place = place > 0.0F ? place : 0.0F;
            const std::int32_t code = static_cast<std::int32_t>(place);
            stored[i] = static_cast<std::uint8_t>(stored[i] | (code < most ? code : most) << (plane * bits));
        }
    }
}

// Stores float32 vectors at their places, in the format's bits.
template <class V>
void write_vectors(const TokenPlace* places, const float* const* vectors, std::size_t count, bool values,
                   const PageFormat& format, std::size_t head_dim) {
    const VectorSegment segment = values ? value_segment(format, head_dim) : key_segment(format, head_dim);
    for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t* stored = segment.at(places[i].page, places[i].slot);
        if (segment.bits == 32) {
            __builtin_memcpy(stored, vectors[i], head_dim * sizeof(float));
        } else if (segment.bits == 16) {
            store_halves<V>(vectors[i], head_dim, stored);
        } else {
            store_codes<V>(vectors[i], head_dim, segment.bits, stored, segment.meta_at(places[i].page, places[i].slot));
        }
    }
}

}  // namespace fairlead::kernels

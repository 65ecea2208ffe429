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

// The floats that a vector of `count` codes stands for. Planes of 4 and 2 bits: byte j holds elements j,
// j + count * bits / 8, ... from the lowest bits on.
template <class V, int Bits>
FAIRLEAD_INLINE void expand_codes(const std::uint8_t* stored, float scale, float zero, std::size_t count, float* out) {
    const std::size_t width = count * Bits / 8;
    expand_plane<V, 0, Bits>(stored, width, scale, zero, out);
    if constexpr (Bits <= 4) expand_plane<V, Bits, Bits>(stored, width, scale, zero, out + width);
    if constexpr (Bits == 2) {
        expand_plane<V, 4, 2>(stored, width, scale, zero, out + 2 * width);
        expand_plane<V, 6, 2>(stored, width, scale, zero, out + 3 * width);
    }
}

template <class V>
FAIRLEAD_INLINE void expand_halves(const std::uint16_t* halves, std::size_t count, float* out) {
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) V::store(out + i, V::from_half(halves + i, V::width));
    if (i < count) V::store_n(out + i, V::from_half(halves + i, count - i), count - i);
}

// Tokens whose vectors are looked at together: attention's block.
inline constexpr std::size_t kTokenBlock = 64;

template <class V, int Bits>
FAIRLEAD_INLINE void expand_coded_run(const std::uint8_t* stored, const std::uint16_t* meta, std::size_t vectors,
                                      std::size_t count, float* out, std::size_t stride) {
    float both[2 * kTokenBlock];
    expand_halves<V>(meta, 2 * vectors, both);
    for (std::size_t v = 0; v < vectors; ++v) {
        expand_codes<V, Bits>(stored + v * (count * Bits / 8), both[2 * v], both[2 * v + 1], count, out + v * stride);
    }
}

// The floats of at most kTokenBlock stored vectors that follow one another, of `count` elements each: out [vectors,
// stride]; what pads a row to its stride becomes zero.
template <class V>
FAIRLEAD_INLINE void expand(int bits, const std::uint8_t* stored, const std::uint16_t* meta, std::size_t vectors,
                            std::size_t count, float* out, std::size_t stride) {
    for (std::size_t v = 0; stride > count && v < vectors; ++v) {
        for (std::size_t i = count; i < stride; ++i) out[v * stride + i] = 0.0F;
    }
    if (bits == 32) {
        for (std::size_t v = 0; v < vectors; ++v) {
            __builtin_memcpy(out + v * stride, stored + v * count * sizeof(float), count * sizeof(float));
        }
    } else if (bits == 16) {
        for (std::size_t v = 0; v < vectors; ++v) {
            expand_halves<V>(reinterpret_cast<const std::uint16_t*>(stored) + v * count, count, out + v * stride);
        }
    } else if (bits == 8) {
        expand_coded_run<V, 8>(stored, meta, vectors, count, out, stride);
    } else if (bits == 4) {
        expand_coded_run<V, 4>(stored, meta, vectors, count, out, stride);
    } else {
        expand_coded_run<V, 2>(stored, meta, vectors, count, out, stride);
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

// Floats of the stored vectors at some places: out [count, head_dim].
template <class V>
void read_vectors(const TokenPlace* places, std::size_t count, bool values, const PageFormat& format,
                  std::size_t head_dim, float* out) {
    const VectorSegment segment = values ? value_segment(format, head_dim) : key_segment(format, head_dim);
    for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t* page = places[i].page;
        const std::size_t slot = places[i].slot;
        expand<V>(segment.bits, segment.at(page, slot), segment.meta_at(page, slot), 1, head_dim, out + i * head_dim,
                  head_dim);
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

#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"

// Integers in a vector type's registers, for all ISAs through the compiler's vector extension, and by name where an
// instruction has no operator.
namespace fairlead::simd {

// Vector types by their number of 32 bit lanes: the compiler wants their size as a plain number.
template <int Width>
struct Lanes;

#define FAIRLEAD_LANES(width)                                              \
    template <>                                                            \
    struct Lanes<width> {                                                  \
        typedef std::int32_t Ints __attribute__((vector_size(4 * width))); \
        typedef std::uint32_t Words32 __attribute__((vector_size(4 * width)));  \
        typedef std::int16_t Shorts __attribute__((vector_size(4 * width))); \
        typedef std::uint16_t Pairs __attribute__((vector_size(4 * width))); \
        typedef std::uint16_t Halves __attribute__((vector_size(2 * width))); \
        typedef std::int8_t Signed __attribute__((vector_size(2 * width))); \
        typedef std::uint8_t Unsigned __attribute__((vector_size(2 * width))); \
    }
FAIRLEAD_LANES(4);
FAIRLEAD_LANES(8);
FAIRLEAD_LANES(16);
#undef FAIRLEAD_LANES

template <class V>
struct Words : Lanes<V::width> {
    static constexpr int width = V::width;
    using L = Lanes<V::width>;
    using Ints = typename L::Ints;
    using Shorts = typename L::Shorts;
    using Pairs = typename L::Pairs;

    // 2 * width bytes as 16 bit integers.
    template <bool IsSigned>
    static FAIRLEAD_INLINE Shorts widen(const void* p) {
        if constexpr (IsSigned) {
            typename L::Signed b;
            __builtin_memcpy(&b, p, sizeof b);
            return __builtin_convertvector(b, Shorts);
        } else {
            typename L::Unsigned b;
            __builtin_memcpy(&b, p, sizeof b);
            return __builtin_convertvector(b, Shorts);
        }
    }
    template <bool IsSigned>
    static FAIRLEAD_INLINE Shorts widen_n(const void* p, std::size_t n) {
        std::uint8_t part[2 * width] = {};
        __builtin_memcpy(part, p, n);
        return widen<IsSigned>(part);
    }
    static FAIRLEAD_INLINE Shorts shorts(const std::int16_t* p) {
        Shorts s;
        __builtin_memcpy(&s, p, sizeof s);
        return s;
    }
    // sum + the products of neighbours, added in pairs.
    static FAIRLEAD_INLINE Ints add_products(Ints sum, Shorts a, Shorts b) {
#if defined(__AVX512BW__)
        if constexpr (width == 16) {
#if defined(__AVX512VNNI__)
            return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#else
            return sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#endif
        } else
#endif
#if defined(__AVX2__)
            if constexpr (width == 8) {
            return sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
        } else
#endif
        {
#if defined(__aarch64__)
            if constexpr (width == 4) {
                const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
                return sum + (Ints)vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b));
            }
#endif
            const Ints even = ((Ints)a << 16 >> 16) * ((Ints)b << 16 >> 16);
            return sum + even + ((Ints)a >> 16) * ((Ints)b >> 16);
        }
    }
    static FAIRLEAD_INLINE std::int32_t total(Ints v) {
#if defined(__AVX512F__)
        if constexpr (width == 16) return _mm512_reduce_add_epi32((__m512i)v);
#endif
        std::int32_t sum = 0;
        for (int i = 0; i < width; ++i) sum += v[i];
        return sum;
    }
    // bfloat16 are the upper halves of float32.
    static FAIRLEAD_INLINE typename V::Vec from_bfloat(const std::uint16_t* p) {
        typename L::Halves h;
        __builtin_memcpy(&h, p, sizeof h);
        return (typename V::Vec)(__builtin_convertvector(h, typename L::Words32) << 16);
    }
    // Four bytes in every lane.
    static FAIRLEAD_INLINE typename V::Raw word(const void* p) {
        std::int32_t w;
        __builtin_memcpy(&w, p, sizeof w);
        return (typename V::Raw)(Ints{} + w);
    }
    // Bits of each byte.
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE typename V::Raw field(typename V::Raw a) {
        Pairs p = (Pairs)a;
        if constexpr (Shift > 0) p >>= Shift;
        if constexpr (Bits < 8) p &= static_cast<std::uint16_t>(((1 << Bits) - 1) * 257);
        return (typename V::Raw)p;
    }
};

}  // namespace fairlead::simd

#pragma once

#include <immintrin.h>

#include "fairlead/views.hpp"

namespace fairlead::simd {

struct Avx512 {
    static constexpr const char* name = "avx512";
    static constexpr int width = 16;
    static constexpr int tile_rows = 4;
    static constexpr int tile_batch = 4;
    static constexpr int column_groups = 2;
    static constexpr int column_batch = 4;
    using Vec = __m512;

    static FAIRLEAD_INLINE Vec set1(float x) { return _mm512_set1_ps(x); }
    static FAIRLEAD_INLINE Vec zero() { return _mm512_setzero_ps(); }
    static FAIRLEAD_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
    static FAIRLEAD_INLINE __mmask16 mask(std::size_t n) { return static_cast<__mmask16>((1U << n) - 1U); }
    static FAIRLEAD_INLINE Vec load_n(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
    static FAIRLEAD_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
    static FAIRLEAD_INLINE void store_n(float* p, Vec v, std::size_t n) { _mm512_mask_storeu_ps(p, mask(n), v); }
    static FAIRLEAD_INLINE Vec from_int8(const std::int8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static FAIRLEAD_INLINE void to_int8(std::int8_t* p, Vec v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
    }
    static FAIRLEAD_INLINE Vec from_half(const std::uint16_t* p, std::size_t n) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p));
    }
    static FAIRLEAD_INLINE Vec set1_half(const std::uint16_t* p) {
        return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(*p)));
    }
    static FAIRLEAD_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
    static FAIRLEAD_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
    static FAIRLEAD_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
    static FAIRLEAD_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
    static FAIRLEAD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
    // A NaN in the second operand is kept.
    static FAIRLEAD_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
    static FAIRLEAD_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
    static FAIRLEAD_INLINE Vec abs(Vec a) { return _mm512_abs_ps(a); }
    static FAIRLEAD_INLINE Vec zero_where_less(Vec value, Vec x, Vec limit) {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), value);
    }
    static FAIRLEAD_INLINE Vec zero_unless_greater(Vec value, Vec x, Vec limit) {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ), value);
    }
    static FAIRLEAD_INLINE Vec round(Vec a) {
        return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static FAIRLEAD_INLINE Vec exp2_of_integer(Vec n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0F), n); }
    static FAIRLEAD_INLINE float sum(Vec v) {
        const __m256 upper = _mm512_extractf32x8_ps(v, 1);
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), upper);
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
    }
    static FAIRLEAD_INLINE float largest(Vec v) { return _mm512_reduce_max_ps(v); }
};

}  // namespace fairlead::simd

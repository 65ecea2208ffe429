#pragma once

#include <immintrin.h>

#include "fairlead/views.hpp"

namespace fairlead::simd {

struct Avx2 {
    static constexpr const char* name = "avx2";
    static constexpr int width = 8;
    static constexpr int tile_rows = 4;
    static constexpr int tile_batch = 3;
    static constexpr int column_groups = 1;
    static constexpr int column_batch = 2;
    static constexpr int packed_rows = 2;
    static constexpr int packed_batch = 2;
    static constexpr int sum_chunks = 1;
    static constexpr int sum_batch = 1;
    static constexpr bool byte_dots = false;
    static constexpr int attend_rows = 6;
    static constexpr int attend_vectors = 2;
    using Vec = __m256;
    using Int = __m256i;
    using Raw = __m256i;

    static FAIRLEAD_INLINE Vec set1(float x) { return _mm256_set1_ps(x); }
    static FAIRLEAD_INLINE Vec zero() { return _mm256_setzero_ps(); }
    static FAIRLEAD_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
    static FAIRLEAD_INLINE __m256i mask(std::size_t n) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
    }
    static FAIRLEAD_INLINE Vec load_n(const float* p, std::size_t n) { return _mm256_maskload_ps(p, mask(n)); }
    static FAIRLEAD_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
    static FAIRLEAD_INLINE void store_n(float* p, Vec v, std::size_t n) { _mm256_maskstore_ps(p, mask(n), v); }
    static FAIRLEAD_INLINE Vec from_int8(const std::int8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    static FAIRLEAD_INLINE void to_int8(std::int8_t* p, Vec v) {
        const __m256i wide = _mm256_cvtps_epi32(v);
        const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(half, half));
    }
    static FAIRLEAD_INLINE Vec from_half(const std::uint16_t* p, std::size_t n) {
        __m128i halves = _mm_setzero_si128();
        if (n >= 8) {
            halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        } else {
            __builtin_memcpy(&halves, p, n * sizeof(std::uint16_t));
        }
        return _mm256_cvtph_ps(halves);
    }
    static FAIRLEAD_INLINE Vec set1_half(const std::uint16_t* p) {
        return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(*p)));
    }
    static FAIRLEAD_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
    static FAIRLEAD_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
    static FAIRLEAD_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
    static FAIRLEAD_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
    static FAIRLEAD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
    // A NaN in the second operand is kept.
    static FAIRLEAD_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
    static FAIRLEAD_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
    static FAIRLEAD_INLINE Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
    static FAIRLEAD_INLINE Vec zero_where_less(Vec value, Vec x, Vec limit) {
        return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), value);
    }
    static FAIRLEAD_INLINE Vec zero_unless_greater(Vec value, Vec x, Vec limit) {
        return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_GT_OQ), value);
    }
    static FAIRLEAD_INLINE Vec round(Vec a) {
        return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static FAIRLEAD_INLINE Vec exp2_of_integer(Vec n) {
        const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
    }
    static FAIRLEAD_INLINE float sum(Vec v) {
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
    }
    static FAIRLEAD_INLINE float largest(Vec v) {
        __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_max_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
    }

    // Bytes as unsigned integers; `field` takes bits out of them.
    static FAIRLEAD_INLINE Int widen(const std::uint8_t* p) {
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE Vec field(Int a) {
        if constexpr (Shift + Bits < 8) a = _mm256_and_si256(a, _mm256_set1_epi32(((1 << Bits) - 1) << Shift));
        return _mm256_cvtepi32_ps(Shift > 0 ? _mm256_srli_epi32(a, Shift) : a);
    }
    static FAIRLEAD_INLINE void to_half(std::uint16_t* p, Vec v, std::size_t n) {
        const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
        if (n >= 8) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves);
        } else {
            __builtin_memcpy(p, &halves, n * sizeof(std::uint16_t));
        }
    }
    static FAIRLEAD_INLINE void transpose(Vec (&r)[8]) {
        Vec t[8];
        FAIRLEAD_UNROLL
        for (int i = 0; i < 8; i += 2) {
            t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 8; i += 4) {
            r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
            r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
            r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
            r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 4; ++i) {
            t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
            t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 8; ++i) r[i] = t[i];
    }

    static FAIRLEAD_INLINE Raw raw(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    // Lanes come in fours.
    static FAIRLEAD_INLINE Raw raw_n(const void* p, std::size_t lanes) {
        if (lanes >= 8) return raw(p);
        return _mm256_zextsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    // Keeps what was loaded in a register: an instruction that adds a load to its work is slower when loads are short.
    static FAIRLEAD_INLINE Raw in_register(Raw a) {
        asm("" : "+x"(a));
        return a;
    }
    static FAIRLEAD_INLINE Int to_int(Raw a) { return a; }
    static FAIRLEAD_INLINE Vec to_float(Int a) { return _mm256_cvtepi32_ps(a); }
    static FAIRLEAD_INLINE Vec half_bytes(const std::uint8_t* p, std::size_t n) {
        const void* source = p;
        if (n >= 8) return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(source)));
        return _mm256_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(source)));
    }
    static FAIRLEAD_INLINE Raw lower_halves(Raw a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
    static FAIRLEAD_INLINE Raw upper_halves(Raw a) { return lower_halves(_mm256_srli_epi16(a, 4)); }
    // The K-th half byte of each lane, minus 8.
    template <int K>
    static FAIRLEAD_INLINE Vec nibble(Raw a) {
        const Raw centred = _mm256_xor_si256(a, _mm256_set1_epi8(static_cast<char>(0x88)));
        return to_float(_mm256_srai_epi32(_mm256_slli_epi32(centred, 28 - 4 * K), 28));
    }
    // The K-th byte of each lane, minus 128.
    template <int K>
    static FAIRLEAD_INLINE Vec byte(Raw a) {
        const Raw centred = _mm256_xor_si256(a, _mm256_set1_epi8(-128));
        return to_float(_mm256_srai_epi32(_mm256_slli_epi32(centred, 24 - 8 * K), 24));
    }
    // A dot product per lane of unsigned weights with int8 inputs: start, eight steps, finish. The correction is what
    // it starts from, or what it gets at the end.
    template <int Bits>
    static FAIRLEAD_INLINE Int start(Int) {
        return _mm256_setzero_si256();
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        // With 4 bits eight sums of two products of at most 15 * 127 fit 16 bits.
        if constexpr (Bits == 4) return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
        // With 8 bits two products of unsigned bytes would not: magnitude times signed input, centred.
        const Raw centred = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        const Raw pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(centred), _mm256_sign_epi8(x, centred));
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int correction) {
        if constexpr (Bits == 8) return sum;
        return _mm256_add_epi32(correction, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
    }
};

}  // namespace fairlead::simd

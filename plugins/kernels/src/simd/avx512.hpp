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
    static constexpr int packed_rows = 2;
    static constexpr int packed_batch = 6;
    static constexpr int sum_chunks = 2;
    static constexpr int sum_batch = 3;
    static constexpr bool byte_dots = false;
    static constexpr int attend_rows = 6;
    static constexpr int attend_vectors = 4;
    using Vec = __m512;
    using Int = __m512i;
    using Raw = __m512i;

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
    // out[b * stride + r] = sum(v[r][b]), bit by bit: the same additions, for all 16 at once.
    static FAIRLEAD_INLINE void store_sums(const Vec (&v)[4][4], float* out, std::size_t stride) {
        Vec quarters[4];  // of a row's four, each in the 128 bits of its place
        FAIRLEAD_UNROLL
        for (int r = 0; r < 4; ++r) {
            const Vec(&of)[4] = v[r];
            const Vec a = add(_mm512_shuffle_f32x4(of[0], of[1], 0x44), _mm512_shuffle_f32x4(of[0], of[1], 0xEE));
            const Vec b = add(_mm512_shuffle_f32x4(of[2], of[3], 0x44), _mm512_shuffle_f32x4(of[2], of[3], 0xEE));
            quarters[r] = add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
        }
        const Vec low = add(pairs_low(quarters[0], quarters[1]), pairs_high(quarters[0], quarters[1]));
        const Vec high = add(pairs_low(quarters[2], quarters[3]), pairs_high(quarters[2], quarters[3]));
        const Vec sums = add(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xDD));
        _mm_storeu_ps(out, _mm512_castps512_ps128(sums));
        _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(sums, 1));
        _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(sums, 2));
        _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(sums, 3));
    }
    // out[r] = sum(v[r]), bit by bit.
    static FAIRLEAD_INLINE void store_sums(const Vec (&v)[4], float* out) {
        const Vec a = add(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
        const Vec b = add(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
        store_narrow_sums(add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)), out);
    }
    // out[r] = sum(lanes 4r..4r+3), with the bits of `sum` where all other lanes are zero.
    static FAIRLEAD_INLINE void store_narrow_sums(Vec v, float* out) {
        Vec s = add(v, _mm512_permute_ps(v, 0x4E));
        s = add(s, _mm512_permute_ps(s, 0xB1));
        _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
    }
    static FAIRLEAD_INLINE float largest(Vec v) { return _mm512_reduce_max_ps(v); }

    // Bytes as unsigned integers; `field` takes bits out of them.
    static FAIRLEAD_INLINE Int widen(const std::uint8_t* p) {
        return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE Vec field(Int a) {
        if constexpr (Shift + Bits < 8) a = _mm512_and_si512(a, _mm512_set1_epi32(((1 << Bits) - 1) << Shift));
        return _mm512_cvtepi32_ps(Shift > 0 ? _mm512_srli_epi32(a, Shift) : a);
    }
    static FAIRLEAD_INLINE void to_half(std::uint16_t* p, Vec v, std::size_t n) {
        _mm256_mask_storeu_epi16(p, mask(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    static FAIRLEAD_INLINE void transpose(Vec (&r)[16]) {
        Vec t[16];
        FAIRLEAD_UNROLL
        for (int i = 0; i < 16; i += 2) {
            t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
            t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 16; i += 4) {
            r[i] = pairs_low(t[i], t[i + 2]);
            r[i + 1] = pairs_high(t[i], t[i + 2]);
            r[i + 2] = pairs_low(t[i + 1], t[i + 3]);
            r[i + 3] = pairs_high(t[i + 1], t[i + 3]);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 4; ++i) {
            const Vec a = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xDD);
            const Vec c = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
            const Vec d = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xDD);
            t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
            t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xDD);
            t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
            t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
        }
        FAIRLEAD_UNROLL
        for (int i = 0; i < 16; ++i) r[i] = t[i];
    }
    static FAIRLEAD_INLINE Vec pairs_low(Vec a, Vec b) {
        return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    }
    static FAIRLEAD_INLINE Vec pairs_high(Vec a, Vec b) {
        return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    }

    static FAIRLEAD_INLINE Raw raw(const void* p) { return _mm512_loadu_si512(p); }
    static FAIRLEAD_INLINE Raw raw_n(const void* p, std::size_t lanes) {
        return _mm512_maskz_loadu_epi32(mask(lanes), p);
    }
    // The 16 bytes at p, four times.
    static FAIRLEAD_INLINE Raw spread(const void* p) {
        return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    // 16 bytes of each place, one after the other.
    static FAIRLEAD_INLINE Raw side_by_side(const void* a, const void* b, const void* c, const void* d) {
        const auto at = [](const void* p) __attribute__((always_inline)) {
            return _mm_loadu_si128(static_cast<const __m128i*>(p));
        };
        const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(at(a)), at(b), 1);
        const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(at(c)), at(d), 1);
        return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    // Four float16 of each place, one after the other.
    static FAIRLEAD_INLINE Vec halves_side_by_side(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* c,
                                                   const std::uint8_t* d) {
        const auto at = [](const std::uint8_t* p) __attribute__((always_inline)) {
            return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        };
        const __m128i low = _mm_unpacklo_epi64(at(a), at(b)), high = _mm_unpacklo_epi64(at(c), at(d));
        return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
    }
    static FAIRLEAD_INLINE Vec as_floats(Raw a) { return _mm512_castsi512_ps(a); }
    // Keeps what was loaded in a register: an instruction that adds a load to its work is slower when loads are short.
    static FAIRLEAD_INLINE Raw in_register(Raw a) {
        asm("" : "+v"(a));
        return a;
    }
    static FAIRLEAD_INLINE Int to_int(Raw a) { return a; }
    static FAIRLEAD_INLINE Vec to_float(Int a) { return _mm512_cvtepi32_ps(a); }
    static FAIRLEAD_INLINE Vec half_bytes(const std::uint8_t* p, std::size_t n) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p));
    }
    static FAIRLEAD_INLINE Raw lower_halves(Raw a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
    static FAIRLEAD_INLINE Raw upper_halves(Raw a) { return lower_halves(_mm512_srli_epi16(a, 4)); }
    // The K-th half byte of each lane, minus 8.
    template <int K>
    static FAIRLEAD_INLINE Vec nibble(Raw a) {
        const Vec table = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
        return _mm512_permutexvar_ps(_mm512_srli_epi32(a, 4 * K), table);
    }
    // The K-th byte of each lane, minus 128.
    template <int K>
    static FAIRLEAD_INLINE Vec byte(Raw a) {
        const Raw centred = _mm512_xor_si512(a, _mm512_set1_epi8(-128));
        return to_float(_mm512_srai_epi32(_mm512_slli_epi32(centred, 24 - 8 * K), 24));
    }
    // A dot product per lane of unsigned weights with int8 inputs: start, eight steps, finish. The correction is what
    // it starts from, or what it gets at the end.
    template <int Bits>
    static FAIRLEAD_INLINE Int start(Int) {
        return _mm512_setzero_si512();
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        // With 4 bits eight sums of two products of at most 15 * 127 fit 16 bits.
        if constexpr (Bits == 4) return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x));
        // With 8 bits two products of unsigned bytes would not: magnitude times signed input, centred.
        const Raw centred = _mm512_xor_si512(w, _mm512_set1_epi8(-128));
        const Raw turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(centred), _mm512_setzero_si512(), x);
        const Raw pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(centred), turned);
        return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int correction) {
        if constexpr (Bits == 8) return sum;
        return _mm512_add_epi32(correction, _mm512_madd_epi16(sum, _mm512_set1_epi16(1)));
    }
};

}  // namespace fairlead::simd

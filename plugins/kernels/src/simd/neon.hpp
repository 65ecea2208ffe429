#pragma once

#include <arm_neon.h>

#include "fairlead/half.hpp"
#include "fairlead/views.hpp"

namespace fairlead::simd {

struct Neon {
    static constexpr const char* name = "neon";
    static constexpr int width = 4;
    static constexpr int tile_rows = 4;
    static constexpr int tile_batch = 4;
    static constexpr int column_groups = 1;
    static constexpr int column_batch = 2;
    static constexpr int packed_rows = 2;
    static constexpr int packed_batch = 4;
    static constexpr int sum_chunks = 2;
    static constexpr int sum_batch = 2;
    static constexpr bool byte_dots = false;
    static constexpr int attend_rows = 6;
    static constexpr int attend_vectors = 4;
    using Vec = float32x4_t;
    using Int = int32x4_t;
    using Raw = uint8x16_t;

    static FAIRLEAD_INLINE Vec set1(float x) { return vdupq_n_f32(x); }
    static FAIRLEAD_INLINE Vec zero() { return vdupq_n_f32(0.0F); }
    static FAIRLEAD_INLINE Vec load(const float* p) { return vld1q_f32(p); }
    static FAIRLEAD_INLINE Vec load_n(const float* p, std::size_t n) {
        float lanes[4] = {0.0F, 0.0F, 0.0F, 0.0F};
        __builtin_memcpy(lanes, p, n * sizeof(float));
        return vld1q_f32(lanes);
    }
    static FAIRLEAD_INLINE void store(float* p, Vec v) { vst1q_f32(p, v); }
    static FAIRLEAD_INLINE void store_n(float* p, Vec v, std::size_t n) {
        float lanes[4];
        vst1q_f32(lanes, v);
        __builtin_memcpy(p, lanes, n * sizeof(float));
    }
    static FAIRLEAD_INLINE Vec from_int8(const std::int8_t* p) {
        std::uint32_t four;
        __builtin_memcpy(&four, p, sizeof four);
        const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    }
    static FAIRLEAD_INLINE void to_int8(std::int8_t* p, Vec v) {
        const int16x4_t half = vqmovn_s32(vcvtnq_s32_f32(v));
        const int8x8_t bytes = vqmovn_s16(vcombine_s16(half, half));
        const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
        __builtin_memcpy(p, &four, sizeof four);
    }
    static FAIRLEAD_INLINE Vec from_half(const std::uint16_t* p, std::size_t n) {
        std::uint16_t lanes[4] = {0, 0, 0, 0};
        __builtin_memcpy(lanes, p, (n < 4 ? n : 4) * sizeof(std::uint16_t));
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(lanes)));
    }
    static FAIRLEAD_INLINE Vec set1_half(const std::uint16_t* p) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(*p)));
    }
    static FAIRLEAD_INLINE Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
    static FAIRLEAD_INLINE Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
    static FAIRLEAD_INLINE Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
    static FAIRLEAD_INLINE Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
    static FAIRLEAD_INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
    static FAIRLEAD_INLINE Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }
    static FAIRLEAD_INLINE Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
    static FAIRLEAD_INLINE Vec abs(Vec a) { return vabsq_f32(a); }
    static FAIRLEAD_INLINE Vec zero_where_less(Vec value, Vec x, Vec limit) {
        return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), vcltq_f32(x, limit)));
    }
    static FAIRLEAD_INLINE Vec zero_unless_greater(Vec value, Vec x, Vec limit) {
        return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(value), vcgtq_f32(x, limit)));
    }
    static FAIRLEAD_INLINE Vec round(Vec a) { return vrndnq_f32(a); }
    static FAIRLEAD_INLINE Vec exp2_of_integer(Vec n) {
        return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
    }
    static FAIRLEAD_INLINE float sum(Vec v) { return vaddvq_f32(v); }
    static FAIRLEAD_INLINE float largest(Vec v) { return vmaxvq_f32(v); }

    // Bytes as unsigned integers; `field` takes bits out of them.
    static FAIRLEAD_INLINE Int widen(const std::uint8_t* p) {
        std::uint32_t four;
        __builtin_memcpy(&four, p, sizeof four);
        const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
        return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
    }
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE Vec field(Int a) {
        if constexpr (Shift > 0) a = vshrq_n_s32(a, Shift);
        if constexpr (Shift + Bits < 8) a = vandq_s32(a, vdupq_n_s32((1 << Bits) - 1));
        return vcvtq_f32_s32(a);
    }
    static FAIRLEAD_INLINE void to_half(std::uint16_t* p, Vec v, std::size_t n) {
        std::uint16_t lanes[4];
        vst1_u16(lanes, vreinterpret_u16_f16(vcvt_f16_f32(v)));
        __builtin_memcpy(p, lanes, (n < 4 ? n : 4) * sizeof(std::uint16_t));
    }
    static FAIRLEAD_INLINE void transpose(Vec (&r)[4]) {
        const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
        r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
        r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
        r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
        r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
    }

    static FAIRLEAD_INLINE Raw raw(const void* p) { return vld1q_u8(static_cast<const std::uint8_t*>(p)); }
    // Lanes come in fours: always a whole vector.
    static FAIRLEAD_INLINE Raw raw_n(const void* p, std::size_t) { return raw(p); }
    static FAIRLEAD_INLINE Raw in_register(Raw a) { return a; }
    static FAIRLEAD_INLINE Int to_int(Raw a) { return vreinterpretq_s32_u8(a); }
    static FAIRLEAD_INLINE Vec to_float(Int a) { return vcvtq_f32_s32(a); }
    static FAIRLEAD_INLINE Vec half_bytes(const std::uint8_t* p, std::size_t) {
        return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
    }
    static FAIRLEAD_INLINE Raw lower_halves(Raw a) { return vandq_u8(a, vdupq_n_u8(15)); }
    static FAIRLEAD_INLINE Raw upper_halves(Raw a) { return vshrq_n_u8(a, 4); }
    // The K-th half byte of each lane, minus 8.
    template <int K>
    static FAIRLEAD_INLINE Vec nibble(Raw a) {
        const int32x4_t centred = vreinterpretq_s32_u8(veorq_u8(a, vdupq_n_u8(0x88)));
        return to_float(vshrq_n_s32(vshlq_n_s32(centred, 28 - 4 * K), 28));
    }
    // The K-th byte of each lane, minus 128.
    template <int K>
    static FAIRLEAD_INLINE Vec byte(Raw a) {
        const int32x4_t centred = vreinterpretq_s32_u8(veorq_u8(a, vdupq_n_u8(0x80)));
        return to_float(vshrq_n_s32(vshlq_n_s32(centred, 24 - 8 * K), 24));
    }
    // Weights that are unsigned with 4 bits and centred with 8, as signed bytes.
    template <int Bits>
    static FAIRLEAD_INLINE int8x16_t signed_bytes(Raw w) {
        return vreinterpretq_s8_u8(Bits == 4 ? w : veorq_u8(w, vdupq_n_u8(0x80)));
    }
    static FAIRLEAD_INLINE Int lane_sums(int16x8_t low, int16x8_t high) {
        return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
    }
    // A dot product per lane of unsigned weights with int8 inputs: start, eight steps, finish. The correction is what
    // it starts from, or what it gets at the end.
    template <int Bits>
    static FAIRLEAD_INLINE auto start(Int) {
        if constexpr (Bits == 4) return int16x8x2_t{{vdupq_n_s16(0), vdupq_n_s16(0)}};
        else return vdupq_n_s32(0);
    }
    // With 4 bits all eight products of a lane's byte fit 16 bits.
    template <int Bits>
    static FAIRLEAD_INLINE int16x8x2_t step(int16x8x2_t sum, Raw w, Raw x) {
        const int8x16_t weight = vreinterpretq_s8_u8(w), value = vreinterpretq_s8_u8(x);
        sum.val[0] = vmlal_s8(sum.val[0], vget_low_s8(weight), vget_low_s8(value));
        sum.val[1] = vmlal_high_s8(sum.val[1], weight, value);
        return sum;
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        const int8x16_t weight = signed_bytes<Bits>(w), value = vreinterpretq_s8_u8(x);
        return vaddq_s32(sum, lane_sums(vmull_s8(vget_low_s8(weight), vget_low_s8(value)), vmull_high_s8(weight, value)));
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(int16x8x2_t sum, Int correction) {
        return vaddq_s32(correction, lane_sums(sum.val[0], sum.val[1]));
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int) {
        return sum;
    }
};

}  // namespace fairlead::simd

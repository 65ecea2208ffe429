#pragma once

#include "fairlead/half.hpp"
#include "fairlead/views.hpp"

namespace fairlead::simd {

// The baseline of the target (SSE2 on x86-64), through the compiler's vector extension.
struct Plain {
    static constexpr const char* name = "plain";
    static constexpr int width = 8;
    static constexpr int tile_rows = 4;
    static constexpr int tile_batch = 1;
    static constexpr int column_groups = 1;
    static constexpr int column_batch = 1;
    static constexpr int packed_rows = 1;
    static constexpr int packed_batch = 2;
    static constexpr int sum_chunks = 1;
    static constexpr int sum_batch = 1;
    static constexpr bool byte_dots = false;
    static constexpr int attend_rows = 2;
    static constexpr int attend_vectors = 2;
    typedef float Vec __attribute__((vector_size(32)));
    typedef std::int32_t Int __attribute__((vector_size(32)));
    typedef std::uint8_t Raw __attribute__((vector_size(32)));
    typedef std::int8_t Bytes __attribute__((vector_size(8)));
    typedef std::int16_t Shorts __attribute__((vector_size(16)));

    static FAIRLEAD_INLINE Vec set1(float x) { return Vec{x, x, x, x, x, x, x, x}; }
    static FAIRLEAD_INLINE Vec zero() { return Vec{}; }
    static FAIRLEAD_INLINE Vec load(const float* p) {
        Vec v;
        __builtin_memcpy(&v, p, sizeof v);
        return v;
    }
    static FAIRLEAD_INLINE Vec load_n(const float* p, std::size_t n) {
        Vec v{};
        __builtin_memcpy(&v, p, n * sizeof(float));
        return v;
    }
    static FAIRLEAD_INLINE void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
    static FAIRLEAD_INLINE void store_n(float* p, Vec v, std::size_t n) { __builtin_memcpy(p, &v, n * sizeof(float)); }
    static FAIRLEAD_INLINE Vec from_int8(const std::int8_t* p) {
        // Through 16 bits: compilers widen bytes to floats in one step only lane by lane.
        Bytes b;
        __builtin_memcpy(&b, p, sizeof b);
        const Shorts wide = __builtin_convertvector(b, Shorts);
        return __builtin_convertvector(__builtin_convertvector(wide, Int), Vec);
    }
    static FAIRLEAD_INLINE void to_int8(std::int8_t* p, Vec v) {
        const Bytes b = __builtin_convertvector(__builtin_convertvector(v, Int), Bytes);
        __builtin_memcpy(p, &b, sizeof b);
    }
    static FAIRLEAD_INLINE Vec from_half(const std::uint16_t* p, std::size_t n) {
        Vec v{};
        const int lanes = n < static_cast<std::size_t>(width) ? static_cast<int>(n) : width;
        for (int i = 0; i < lanes; ++i) v[i] = half_to_float(p[i]);
        return v;
    }
    static FAIRLEAD_INLINE Vec set1_half(const std::uint16_t* p) { return set1(half_to_float(*p)); }
    static FAIRLEAD_INLINE Vec add(Vec a, Vec b) { return a + b; }
    static FAIRLEAD_INLINE Vec sub(Vec a, Vec b) { return a - b; }
    static FAIRLEAD_INLINE Vec mul(Vec a, Vec b) { return a * b; }
    static FAIRLEAD_INLINE Vec div(Vec a, Vec b) { return a / b; }
    static FAIRLEAD_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
    // A NaN in the second operand is kept.
    static FAIRLEAD_INLINE Vec max(Vec a, Vec b) { return b < a ? a : b; }
    static FAIRLEAD_INLINE Vec min(Vec a, Vec b) { return b > a ? a : b; }
    static FAIRLEAD_INLINE Vec abs(Vec a) { return (Vec)((Int)a & 0x7FFFFFFF); }
    static FAIRLEAD_INLINE Vec zero_where_less(Vec value, Vec x, Vec limit) { return x < limit ? Vec{} : value; }
    static FAIRLEAD_INLINE Vec zero_unless_greater(Vec value, Vec x, Vec limit) { return x > limit ? value : Vec{}; }
    // To nearest even, for magnitudes below 2^22.
    static FAIRLEAD_INLINE Vec round(Vec a) { return (a + 0x1.8p23F) - 0x1.8p23F; }
    static FAIRLEAD_INLINE Vec exp2_of_integer(Vec n) { return (Vec)((__builtin_convertvector(n, Int) + 127) << 23); }
    static FAIRLEAD_INLINE float sum(Vec v) {
        return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
    }
    static FAIRLEAD_INLINE float largest(Vec v) {
        float best = v[0];
        for (int i = 1; i < width; ++i) best = v[i] > best ? v[i] : best;
        return best;
    }

    // Bytes as unsigned integers; `field` takes bits out of them.
    static FAIRLEAD_INLINE Int widen(const std::uint8_t* p) {
        Int a{};
        for (int i = 0; i < width; ++i) a[i] = p[i];
        return a;
    }
    template <int Shift, int Bits>
    static FAIRLEAD_INLINE Vec field(Int a) {
        return __builtin_convertvector(a >> Shift & ((1 << Bits) - 1), Vec);
    }
    static FAIRLEAD_INLINE void to_half(std::uint16_t* p, Vec v, std::size_t n) {
        const int lanes = n < static_cast<std::size_t>(width) ? static_cast<int>(n) : width;
        for (int i = 0; i < lanes; ++i) p[i] = float_to_half(v[i]);
    }
    static FAIRLEAD_INLINE void transpose(Vec (&r)[8]) {
        for (int i = 0; i < width; ++i) {
            for (int j = 0; j < i; ++j) {
                const float kept = r[i][j];
                r[i][j] = r[j][i];
                r[j][i] = kept;
            }
        }
    }

    static FAIRLEAD_INLINE Raw raw(const void* p) {
        Raw a;
        __builtin_memcpy(&a, p, sizeof a);
        return a;
    }
    static FAIRLEAD_INLINE Raw raw_n(const void* p, std::size_t lanes) {
        Raw a{};
        __builtin_memcpy(&a, p, 4 * lanes);
        return a;
    }
    static FAIRLEAD_INLINE Raw in_register(Raw a) { return a; }
    static FAIRLEAD_INLINE Int to_int(Raw a) { return (Int)a; }
    static FAIRLEAD_INLINE Vec to_float(Int a) { return __builtin_convertvector(a, Vec); }
    static FAIRLEAD_INLINE Vec half_bytes(const std::uint8_t* p, std::size_t n) {
        std::uint16_t half[width] = {};
        __builtin_memcpy(half, p, 2 * n);
        return from_half(half, width);
    }
    static FAIRLEAD_INLINE Raw lower_halves(Raw a) { return a & 15; }
    static FAIRLEAD_INLINE Raw upper_halves(Raw a) { return a >> 4; }
    // The K-th half byte of each lane, minus 8.
    template <int K>
    static FAIRLEAD_INLINE Vec nibble(Raw a) {
        return to_float(((Int)a >> 4 * K & 15) - 8);
    }
    // The K-th byte of each lane, minus 128.
    template <int K>
    static FAIRLEAD_INLINE Vec byte(Raw a) {
        return to_float(((Int)a >> 8 * K & 255) - 128);
    }
    // A dot product per lane of unsigned weights with int8 inputs: start, eight steps, finish. The correction is what
    // it starts from, or what it gets at the end.
    template <int Bits>
    static FAIRLEAD_INLINE Int start(Int correction) {
        return correction;
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int step(Int sum, Raw w, Raw x) {
        // Bytes 0 and 2, then 1 and 3 of each lane as 16 bit numbers; sums of products of 8 bits need 32.
        typedef std::int16_t Pairs __attribute__((vector_size(32)));
        const Pairs pairs = (Pairs)x, u = (Pairs)w;
        const Pairs even = (u & 255) * (pairs << 8 >> 8), odd = (u >> 8 & 255) * (pairs >> 8);
        const Int low = (Int)even, high = (Int)odd;
        return sum + (low << 16 >> 16) + (low >> 16) + (high << 16 >> 16) + (high >> 16);
    }
    template <int Bits>
    static FAIRLEAD_INLINE Int finish(Int sum, Int) {
        return sum;
    }
};

}  // namespace fairlead::simd

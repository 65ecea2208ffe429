#pragma once

#include <algorithm>
#include <utility>

#include "fairlead/inline.hpp"
#include "fairlead/vectors/list_kernels.hpp"
#include "kernels/unpack_floats.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// Included by one translation unit an ISA; everything has internal linkage there.
namespace fairlead::vectors {
namespace {

#if defined(__AVX512VNNI__)

FAIRLEAD_INLINE __m512i scan_block(const ListScan& query, const std::uint8_t* block) {
    __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
    const auto query_of = [](const std::int8_t* q) { return _mm512_set1_epi32(*reinterpret_cast<const int*>(q)); };
    std::uint32_t b = 0;
    for (; b + 8 <= query.nibbles; b += 8) {
        even = _mm512_dpbusd_epi32(even, _mm512_load_si512(block + kLanes * b), query_of(query.low + b));
        odd = _mm512_dpbusd_epi32(odd, _mm512_load_si512(block + kLanes * (b + 4)), query_of(query.low + b + 4));
    }
    for (; b < query.nibbles; b += 4) {
        even = _mm512_dpbusd_epi32(even, _mm512_load_si512(block + kLanes * b), query_of(query.low + b));
    }
    const __m512i halves = _mm512_set1_epi8(15);
    for (; b < query.row; b += 4) {
        const __m512i codes = _mm512_load_si512(block + kLanes * b);
        even = _mm512_dpbusd_epi32(even, _mm512_and_si512(codes, halves), query_of(query.low + b));
        odd = _mm512_dpbusd_epi32(odd, _mm512_and_si512(_mm512_srli_epi16(codes, 4), halves), query_of(query.high + b));
    }
    return _mm512_add_epi32(even, odd);
}

std::size_t scan(const ListScan& query, const std::uint8_t* blocks, std::size_t count, float threshold,
                 float* estimates, std::uint32_t* positions) {
    const __m512 base = _mm512_set1_ps(query.base), scale = _mm512_set1_ps(query.scale);
    const __m512 limit = _mm512_set1_ps(threshold);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const std::size_t bytes = block_bytes(query.row);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* block = blocks + i * bytes;
        const __m512 sums = _mm512_cvtepi32_ps(scan_block(query, block));
        const __m512 own = _mm512_load_ps(block + kLanes * query.row);
        const __m512 estimate = _mm512_sub_ps(_mm512_add_ps(base, own), _mm512_mul_ps(scale, sums));
        const __mmask16 near = _mm512_cmp_ps_mask(estimate, limit, _CMP_LT_OQ);
        if (near == 0) continue;
        _mm512_mask_compressstoreu_ps(estimates + found, near, estimate);
        const __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(i * kLanes)));
        _mm512_mask_compressstoreu_epi32(positions + found, near, at);
        found += static_cast<std::size_t>(__builtin_popcount(near));
    }
    return found;
}

std::int32_t sum_bits(const std::int8_t* query, const std::uint8_t* bits, std::size_t stride) {
    __m512i sum = _mm512_setzero_si512();
    for (std::size_t b = 0; b < stride; b += 8) {
        std::uint64_t mask;
        __builtin_memcpy(&mask, bits + b, 8);
        sum = _mm512_dpbusd_epi32(sum, _mm512_maskz_set1_epi8(mask, 1), _mm512_loadu_si512(query + 8 * b));
    }
    return _mm512_reduce_add_epi32(sum);
}

#else

std::size_t scan(const ListScan& query, const std::uint8_t* blocks, std::size_t count, float threshold,
                 float* estimates, std::uint32_t* positions) {
    const std::size_t bytes = block_bytes(query.row);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* block = blocks + i * bytes;
        std::int32_t sums[kLanes] = {};
        for (std::uint32_t b = 0; b < query.row; b += 4) {
            const bool halves = b >= query.nibbles;
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                for (std::uint32_t j = 0; j < 4; ++j) {
                    const int code = block[kLanes * b + 4 * lane + j];
                    sums[lane] += halves ? (code & 15) * query.low[b + j] + (code >> 4) * query.high[b + j]
                                         : code * query.low[b + j];
                }
            }
        }
        float own[kLanes];
        __builtin_memcpy(own, block + kLanes * query.row, sizeof own);
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const float estimate = query.base + own[lane] - query.scale * static_cast<float>(sums[lane]);
            if (!(estimate < threshold)) continue;
            estimates[found] = estimate;
            positions[found++] = static_cast<std::uint32_t>(i * kLanes + lane);
        }
    }
    return found;
}

std::int32_t sum_bits(const std::int8_t* query, const std::uint8_t* bits, std::size_t stride) {
    std::int32_t sum = 0;
    for (std::size_t b = 0; b < stride; ++b) {
        for (std::size_t i = 0; i < 8; ++i) sum += query[8 * b + i] & -static_cast<std::int32_t>(bits[b] >> i & 1);
    }
    return sum;
}

#endif

using Sixteen = float __attribute__((vector_size(64), aligned(4)));
using SixteenAt = int __attribute__((vector_size(64)));

// The stages of a Hadamard transform among neighbours at distance h below 16.
template <int H>
FAIRLEAD_INLINE Sixteen hadamard_within(Sixteen x) {
    Sixteen sign;
    for (int i = 0; i < 16; ++i) sign[i] = (i & H) ? -1.0F : 1.0F;
#if defined(__clang__)
    Sixteen other;
    for (int i = 0; i < 16; ++i) other[i] = x[i ^ H];
    return other + x * sign;
#else
    SixteenAt partner;
    for (int i = 0; i < 16; ++i) partner[i] = i ^ H;
    return __builtin_shuffle(x, partner) + x * sign;
#endif
}

// Unnormalised; size is a power of two.
FAIRLEAD_INLINE void hadamard(float* x, std::size_t size) {
    std::size_t h = 1;
    if (size >= 16) {
        for (std::size_t i = 0; i < size; i += 16) {
            Sixteen* at = reinterpret_cast<Sixteen*>(x + i);
            *at = hadamard_within<8>(hadamard_within<4>(hadamard_within<2>(hadamard_within<1>(*at))));
        }
        h = 16;
    }
    for (; h < size; h *= 2) {
        for (std::size_t i = 0; i < size; i += 2 * h) {
            for (std::size_t j = i; j < i + h; ++j) {
                const float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
        }
    }
}

void randomize(float* x, std::size_t size, const float* signs) {
    if (size < 2) return;
    std::size_t power = 2;
    while (2 * power <= size) power *= 2;
    const float norm = 1.0F / __builtin_sqrtf(static_cast<float>(power));
    for (std::size_t round = 0; round < 4; ++round) {
        for (std::size_t i = 0; i < size; ++i) x[i] *= signs[round * size + i];
        float* part = round % 2 == 0 ? x : x + (size - power);
        hadamard(part, power);
        for (std::size_t i = 0; i < power; ++i) part[i] *= norm;
    }
}

FAIRLEAD_INLINE Sixteen add_product(Sixteen sum, Sixteen row, float weight) {
#if defined(__AVX512F__)
    return reinterpret_cast<Sixteen>(_mm512_fmadd_ps(reinterpret_cast<__m512>(row), _mm512_set1_ps(weight), reinterpret_cast<__m512>(sum)));
#else
    return sum + row * weight;
#endif
}

// V vectors of columns of B sums.
template <int V, int B>
FAIRLEAD_INLINE void combine_tile(const float* rows, std::size_t count, std::size_t columns, const float* weights,
                                  float* out) {
    Sixteen sum[B][V] = {};
    for (std::size_t r = 0; r < count; ++r) {
        for (int v = 0; v < V; ++v) {
            const Sixteen row = *reinterpret_cast<const Sixteen*>(rows + r * columns + 16 * v);
            for (int b = 0; b < B; ++b) sum[b][v] = add_product(sum[b][v], row, weights[b * count + r]);
        }
    }
    for (int b = 0; b < B; ++b) {
        for (int v = 0; v < V; ++v) *reinterpret_cast<Sixteen*>(out + b * columns + 16 * v) = sum[b][v];
    }
}

template <int V>
FAIRLEAD_INLINE void combine_columns(const float* rows, std::size_t count, std::size_t columns, const float* weights,
                                     std::size_t batch, float* out) {
#if defined(__AVX512F__)
    constexpr int kBatch = 4;
#else
    constexpr int kBatch = 1;
#endif
    std::size_t b = 0;
    for (; b + kBatch <= batch; b += kBatch) {
        combine_tile<V, kBatch>(rows, count, columns, weights + b * count, out + b * columns);
    }
    for (; b < batch; ++b) combine_tile<V, 1>(rows, count, columns, weights + b * count, out + b * columns);
}

void combine(const float* rows, std::size_t count, std::size_t columns, const float* weights, std::size_t batch,
             float* out) {
    std::size_t c = 0;
    for (; c + 64 <= columns; c += 64) combine_columns<4>(rows + c, count, columns, weights, batch, out + c);
    for (; c + 16 <= columns; c += 16) combine_columns<1>(rows + c, count, columns, weights, batch, out + c);
    for (; c < columns; ++c) {
        for (std::size_t b = 0; b < batch; ++b) {
            float sum = 0;
            for (std::size_t r = 0; r < count; ++r) sum += rows[r * columns + c] * weights[b * count + r];
            out[b * columns + c] = sum;
        }
    }
}

struct Parts {
    std::size_t less, more;
};

// Values below the pivot go to the front, those above it to `more`; those that equal it are left out.
FAIRLEAD_INLINE Parts split(float* values, std::size_t count, float pivot, float* more) {
    Parts parts{0, 0};
#if defined(__AVX512F__)
    const __m512 middle = _mm512_set1_ps(pivot);
    for (std::size_t i = 0; i < count; i += 16) {
        const auto in = static_cast<__mmask16>(count - i >= 16 ? 0xFFFFU : (1U << (count - i)) - 1U);
        const __m512 some = _mm512_maskz_loadu_ps(in, values + i);
        const __mmask16 below = _mm512_mask_cmp_ps_mask(in, some, middle, _CMP_LT_OQ);
        const __mmask16 above = _mm512_mask_cmp_ps_mask(in, some, middle, _CMP_GT_OQ);
        _mm512_mask_compressstoreu_ps(values + parts.less, below, some);
        _mm512_mask_compressstoreu_ps(more + parts.more, above, some);
        parts.less += static_cast<std::size_t>(__builtin_popcount(below));
        parts.more += static_cast<std::size_t>(__builtin_popcount(above));
    }
#else
    // Written whether it stays or not: a branch that nobody can foresee costs more.
    for (std::size_t i = 0; i < count; ++i) {
        const float value = values[i];
        values[parts.less] = value;
        more[parts.more] = value;
        parts.less += value < pivot;
        parts.more += value > pivot;
    }
#endif
    return parts;
}

float smallest_but(float* values, std::size_t count, std::size_t k, float* scratch) {
    constexpr std::size_t kFew = 24;
    constexpr int kRounds = 48;  // pivots that do not halve come to an end
    for (int round = 0; count > kFew && round < kRounds; ++round) {
        const float a = values[count / 6], b = values[count / 2], c = values[count - 1 - count / 6];
        const float pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
        const Parts parts = split(values, count, pivot, scratch);
        if (k < parts.less) {
            count = parts.less;
        } else if (k < count - parts.more) {
            return pivot;
        } else {
            k -= count - parts.more;
            count = parts.more;
            std::swap(values, scratch);
        }
    }
    std::nth_element(values, values + k, values + count);
    return values[k];
}

float round_to_bytes(const float* x, std::size_t size, std::int8_t* out, std::int32_t& total) {
    constexpr float kRound = 12582912.0F;  // added and taken off it leaves whole numbers
    // Magnitudes are in the order of their bits.
    std::int32_t bits = 0;
    for (std::size_t i = 0; i < size; ++i) bits = std::max(bits, __builtin_bit_cast(std::int32_t, x[i]) & 0x7FFFFFFF);
    const float largest = __builtin_bit_cast(float, bits);
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
        const auto whole = static_cast<std::int32_t>((x[i] * inverse + kRound) - kRound);
        out[i] = static_cast<std::int8_t>(whole);
        sum += whole;
    }
    total = sum;
    return largest / 127.0F;
}

constexpr ListKernels kKernels{.scan = scan,
                               .sum_bits = sum_bits,
                               .randomize = randomize,
                               .combine = combine,
                               .smallest_but = smallest_but,
                               .round_to_bytes = round_to_bytes,
                               .unpack = unpack};

}  // namespace
}  // namespace fairlead::vectors

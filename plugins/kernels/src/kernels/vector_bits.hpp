#pragma once

#include "fairlead/vectors/bit_codes.hpp"
#include "simd/words.hpp"

namespace fairlead::vectors::kernels {

// Blocks that are scanned side by side share the query's words; as many as leave their sums in registers.
template <int Bits>
inline constexpr std::size_t side_by_side = Bits == 1 ? 2 : 4;

// The dot products of some blocks' vectors, out [blocks, 16], where bytes have an instruction of their own: a field is
// multiplied where it stands, with a sum for each place, and moved down once at the end. That is two instructions for 64
// codes in place of three.
template <class V, int Bits, std::size_t Blocks>
FAIRLEAD_INLINE void scan_dots_in_place(const std::byte* blocks, std::size_t stride, std::size_t words,
                                        const std::int8_t* query, std::int32_t* out) {
    using W = simd::Words<V>;
    using Ints = typename W::Ints;
    using Pairs = typename W::Pairs;
    constexpr int fields = 8 / Bits;
    Ints sum[Blocks][fields] = {};
    Pairs mask[fields];
    FAIRLEAD_UNROLL
    for (int f = 0; f < fields; ++f) {
        mask[f] = (Pairs)(Ints{} + static_cast<std::int32_t>((((1U << Bits) - 1) << (f * Bits)) * 0x01010101U));
    }
    for (std::size_t t = 0; t < words; ++t) {
        const std::int8_t* q = query + t * (32 / Bits);
        FAIRLEAD_UNROLL
        for (std::size_t b = 0; b < Blocks; ++b) {
            const Pairs stored = (Pairs)V::raw(blocks + b * stride + t * kLine);
            FAIRLEAD_UNROLL
            for (int f = 0; f < fields; ++f) {
                const auto field = (typename V::Raw)(stored & mask[f]);
                sum[b][f] = (Ints)V::template step<4>((typename V::Int)sum[b][f], field, W::word(q + 4 * f));
            }
        }
    }
    FAIRLEAD_UNROLL
    for (std::size_t b = 0; b < Blocks; ++b) {
        Ints total = sum[b][0];
        FAIRLEAD_UNROLL
        for (int f = 1; f < fields; ++f) total += sum[b][f] >> (f * Bits);
        __builtin_memcpy(out + b * kBlock, &total, sizeof total);
    }
}

// The dot products of some blocks' vectors: out [blocks, 16].
template <class V, int Bits, std::size_t Blocks>
FAIRLEAD_INLINE void scan_dots(const std::byte* blocks, std::size_t stride, std::size_t words, const std::int8_t* query,
                               std::int32_t* out) {
    if constexpr (V::byte_dots) return scan_dots_in_place<V, Bits, Blocks>(blocks, stride, words, query, out);
    using W = simd::Words<V>;
    using Ints = typename W::Ints;
    constexpr std::size_t parts = kBlock / V::width, bytes = 4 * V::width;
    constexpr bool flushes = !V::byte_dots;  // sums of eight steps fit 16 bits where products are added in those
    const typename V::Int none = (typename V::Int)Ints{};
    FAIRLEAD_UNROLL
    for (std::size_t part = 0; part < parts; ++part) {
        Ints total[Blocks] = {};
        for (std::size_t t = 0; t < words; ++t) {
            const std::int8_t* q = query + t * (32 / Bits);
            typename V::Raw stored[Blocks];
            FAIRLEAD_UNROLL
            for (std::size_t b = 0; b < Blocks; ++b) stored[b] = V::raw(blocks + b * stride + t * kLine + part * bytes);
            decltype(V::template start<4>(none)) sum[Blocks];
            FAIRLEAD_UNROLL
            for (std::size_t b = 0; b < Blocks; ++b) {
                if constexpr (flushes) sum[b] = V::template start<4>(none);
                else sum[b] = (typename V::Int)total[b];
            }
            const auto take = [&]<int Field>() __attribute__((always_inline)) {
                if constexpr (Field * Bits < 8) {
                    const typename V::Raw word = W::word(q + 4 * Field);
                    FAIRLEAD_UNROLL
                    for (std::size_t b = 0; b < Blocks; ++b) {
                        sum[b] = V::template step<4>(sum[b], W::template field<Field * Bits, Bits>(stored[b]), word);
                    }
                }
            };
            take.template operator()<0>();
            take.template operator()<1>();
            take.template operator()<2>();
            take.template operator()<3>();
            take.template operator()<4>();
            take.template operator()<5>();
            take.template operator()<6>();
            take.template operator()<7>();
            FAIRLEAD_UNROLL
            for (std::size_t b = 0; b < Blocks; ++b) {
                const Ints found = (Ints)V::template finish<4>(sum[b], none);
                if constexpr (flushes) total[b] += found;
                else total[b] = found;
            }
        }
        FAIRLEAD_UNROLL
        for (std::size_t b = 0; b < Blocks; ++b) {
            __builtin_memcpy(out + b * kBlock + part * V::width, &total[b], sizeof total[b]);
        }
    }
}

// Writes those of a block's first `count` vectors whose lower bound is below the limit.
template <class V>
FAIRLEAD_INLINE std::size_t scan_passed(const std::byte* numbers, const BitQueryView& query, const BitList& list,
                                        std::size_t first, std::size_t count, float limit, const std::int32_t* dots,
                                        BitCandidate* out) {
    constexpr std::size_t w = V::width;
    const auto* base = reinterpret_cast<const float*>(numbers);
    const auto* factor = reinterpret_cast<const std::uint16_t*>(numbers + kLine);
    const std::uint16_t* spread = factor + kBlock;
    alignas(64) float estimate[kBlock], lower[kBlock];
    std::size_t passed = 0;
    FAIRLEAD_UNROLL
    for (std::size_t at = 0; at < kBlock; at += w) {
        typename V::Int dot;
        __builtin_memcpy(&dot, dots + at, sizeof dot);
        const typename V::Vec product =
            V::fma(V::to_float(dot), V::set1(query.scan_scale), V::set1(query.scan_offset));
        const typename V::Vec start = V::add(V::load(base + at), V::set1(list.add));
        const typename V::Vec found = V::sub(start, V::mul(V::from_half(factor + at, w), product));
        const typename V::Vec bound = V::sub(found, V::mul(V::from_half(spread + at, w), V::set1(list.slack)));
#if defined(__AVX512F__)
        if constexpr (w == 16) {
            const unsigned there = count >= 16 ? 0xFFFFU : (1U << count) - 1U;
            unsigned below = there & _mm512_cmp_ps_mask(bound, V::set1(limit), _CMP_LT_OQ);
            if (below == 0) return 0;
            V::store(estimate, found);
            V::store(lower, bound);
            for (; below != 0; below &= below - 1) {
                const auto i = static_cast<std::uint32_t>(__builtin_ctz(below));
                out[passed++] = {static_cast<std::uint32_t>(first) + i, dots[i], estimate[i], lower[i]};
            }
            return passed;
        }
#endif
        V::store(estimate + at, found);
        V::store(lower + at, bound);
    }
    for (std::size_t i = 0; i < count; ++i) {
        out[passed] = {static_cast<std::uint32_t>(first + i), dots[i], estimate[i], lower[i]};
        passed += lower[i] < limit ? 1 : 0;
    }
    return passed;
}

template <class V, int Bits>
FAIRLEAD_INLINE std::size_t scan_bits(const BitPlan& plan, const BitQueryView& query, const BitList& list,
                                      const std::byte* blocks, std::size_t n, float limit, BitCandidate* out) {
    const std::size_t stride = plan.block_bytes(), words = plan.words();
    constexpr std::size_t together = side_by_side<Bits>;
    alignas(64) std::int32_t dots[together * kBlock];
    std::size_t passed = 0, at = 0;
    while (at < n) {
        const std::byte* here = blocks + at / kBlock * stride;
        const std::size_t some = n - at > (together - 1) * kBlock ? together : 1;
        if (some == together) scan_dots<V, Bits, together>(here, stride, words, query.scan, dots);
        else scan_dots<V, Bits, 1>(here, stride, words, query.scan, dots);
        for (std::size_t b = 0; b < some; ++b, at += kBlock) {
            passed += scan_passed<V>(here + b * stride + words * kLine, query, list, at, n - at < kBlock ? n - at : kBlock,
                                     limit, dots + b * kBlock, out + passed);
        }
    }
    return passed;
}

template <class V>
std::size_t scan(const BitPlan& plan, const BitQueryView& query, const BitList& list, const std::byte* blocks,
                 std::size_t n, float limit, BitCandidate* out) {
    switch (plan.scan_bits) {
        case 1: return scan_bits<V, 1>(plan, query, list, blocks, n, limit, out);
        case 2: return scan_bits<V, 2>(plan, query, list, blocks, n, limit, out);
        default: return scan_bits<V, 4>(plan, query, list, blocks, n, limit, out);
    }
}

#if defined(__AVX512VNNI__)
// 64 codes of p bits as bytes, in order.
template <int Bits>
FAIRLEAD_INLINE __m512i spread_codes(const std::uint8_t* codes) {
    if constexpr (Bits == 4) {
        const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
        const __m512i shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
        return _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(15));
    } else {
        const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
        const __m512i shifts = _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6);
        return _mm512_and_si512(_mm512_srlv_epi64(all, shifts), _mm512_set1_epi8(3));
    }
}
#endif

template <class V, int Bits>
FAIRLEAD_INLINE std::int32_t plane_sum(const std::uint8_t* codes, const std::int8_t* query, std::size_t chunks) {
#if defined(__AVX512VNNI__)
    if constexpr (V::byte_dots) {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t c = 0; c < chunks; ++c) {
            const __m512i q = _mm512_load_si512(query + 64 * c);
            if constexpr (Bits == 1) {
                std::uint64_t mask;
                __builtin_memcpy(&mask, codes + 8 * c, sizeof mask);
                sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_maskz_mov_epi8(mask, q));
            } else {
                sum = _mm512_dpbusd_epi32(sum, spread_codes<Bits>(codes + 8 * Bits * c), q);
            }
        }
        return _mm512_reduce_add_epi32(sum);
    }
#endif
    using W = simd::Words<V>;
    typename W::Ints total = {};
    const typename V::Int none = (typename V::Int)typename W::Ints{};
    for (std::size_t c = 0; c < chunks; ++c) {
        alignas(64) std::uint8_t spread[64];
        const std::uint8_t* from = codes + 8 * Bits * c;
        for (int i = 0; i < 64; ++i) {
            if constexpr (Bits == 1) spread[i] = from[i / 8] >> (i % 8) & 1;
            else spread[i] = from[i % (8 * Bits)] >> (i / (8 * Bits) * Bits) & ((1 << Bits) - 1);
        }
        auto sum = V::template start<4>(none);
        for (std::size_t at = 0; at < 64; at += 4 * V::width) {
            sum = V::template step<4>(sum, V::raw(spread + at), V::raw(query + 64 * c + at));
        }
        total += (typename W::Ints)V::template finish<4>(sum, none);
    }
    return W::total(total);
}

template <class V>
std::int32_t plane_dot(int bits, const std::uint8_t* codes, const std::int8_t* query, std::size_t chunks) {
    if (bits == 1) return plane_sum<V, 1>(codes, query, chunks);
    return bits == 2 ? plane_sum<V, 2>(codes, query, chunks) : plane_sum<V, 4>(codes, query, chunks);
}

}  // namespace fairlead::vectors::kernels

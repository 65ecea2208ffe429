#pragma once

#include "kernels/exponential.hpp"
#include "kernels/lanes.hpp"
#include "kernels/unified_vectors.hpp"

namespace fairlead::kernels {

// Attention over unified pages. Tokens are taken in blocks, and each block as two small matrix products, with a softmax
// that is corrected from block to block (FlashAttention: Dao et al. 2022). A query's bits depend on its own tokens
// alone: a block begins at a multiple of kTokenBlock in its tier, a split at a multiple of kSplitTokens, and neither the
// number of queries at once nor what others see changes the order in which its sums are made.

inline constexpr float kNone = -__builtin_inff();
// The most elements of a vector whose products of bytes still fit 32 bits: 255 * 16319 * 512.
inline constexpr std::size_t kMostByteDots = 512;

// out[r, t] = sum_d q[r, d] * kt[d, t] for R rows and C vectors of tokens.
template <class V, int R, int C>
FAIRLEAD_INLINE void multiply_keys(const float* q, std::size_t width, const float* kt, float* out) {
    typename V::Vec sum[R][C];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) sum[r][c] = V::zero();
    }
    for (std::size_t d = 0; d < width; ++d) {
        typename V::Vec key[C];
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) key[c] = V::load(kt + d * kTokenBlock + c * V::width);
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            const typename V::Vec query = V::set1(q[r * width + d]);
            FAIRLEAD_UNROLL
            for (int c = 0; c < C; ++c) sum[r][c] = V::fma(query, key[c], sum[r][c]);
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) V::store(out + r * kTokenBlock + c * V::width, sum[r][c]);
    }
}

// out[r, :] = out[r, :] * shrink[r] + sum_t weight[r, t] * value[t, :] for R rows and C vectors of elements.
template <class V, int R, int C>
FAIRLEAD_INLINE void add_values(const float* weight, const float* const* values, std::size_t offset, std::size_t tokens,
                                const float* shrink, float* out, std::size_t width) {
    typename V::Vec sum[R][C];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        const typename V::Vec factor = V::set1(shrink[r]);
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) sum[r][c] = V::mul(V::load(out + r * width + c * V::width), factor);
    }
    for (std::size_t t = 0; t < tokens; ++t) {
        const float* value = values[t] + offset;
        typename V::Vec part[C];
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) part[c] = V::load(value + c * V::width);
        FAIRLEAD_UNROLL
        for (int r = 0; r < R; ++r) {
            const typename V::Vec w = V::set1(weight[r * kTokenBlock + t]);
            FAIRLEAD_UNROLL
            for (int c = 0; c < C; ++c) sum[r][c] = V::fma(w, part[c], sum[r][c]);
        }
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) V::store(out + r * width + c * V::width, sum[r][c]);
    }
}

// One block of keys, transposed, and of values.
template <class V>
struct TokenBlock {
    float* kt;      // [padded head_dim, kTokenBlock]; or four codes of each token a word, [words, kTokenBlock]
    float* buffer;  // [kTokenBlock, padded head_dim], for rows that are not floats in their page
    const float* values[kTokenBlock];
    float key_scale[kTokenBlock];  // where kt are codes
    float key_zero[kTokenBlock];
    std::size_t first = 0;  // number of the first token in its tier
    std::size_t count = 0;

    static FAIRLEAD_INLINE std::size_t floats(std::size_t width) { return 2 * kTokenBlock * width; }
};

// Calls f(page, slot, tokens, number of the first within the block) for the runs of a block's tokens that lie together.
template <class F>
FAIRLEAD_INLINE void for_each_page_run(const UnifiedView& pages, const std::int32_t* table, int which,
                                       std::size_t first, std::size_t count, const F& f) {
    const std::size_t tokens = pages.tier[which].tokens;
    std::size_t place = first / tokens, slot = first % tokens;
    for (std::size_t i = 0; i < count; ++place, slot = 0) {
        const std::size_t run = tokens - slot < count - i ? tokens - slot : count - i;
        f(pages.page(table, which, place), slot, run, i);
        i += run;
    }
}

// Row pointers of a block's vectors: into the pages where they stand there as whole vectors of floats, else into buffer.
template <class V>
void find_rows(const UnifiedView& pages, const std::int32_t* table, int which, const VectorSegment& from,
               std::size_t first, std::size_t count, float* buffer, const float** rows) {
    const std::size_t dim = pages.head_dim, width = padded<V>(dim);
    const bool direct = from.bits == 32 && width == dim;
    for_each_page_run(pages, table, which, first, count,
                      [&](std::uint8_t* page, std::size_t slot, std::size_t run, std::size_t i) {
                          const float* source = buffer + i * width;
                          if (direct) {
                              source = reinterpret_cast<const float*>(from.at(page, slot));
                          } else {
                              expand<V>(from.bits, from.at(page, slot), from.meta_at(page, slot), run, dim,
                                        buffer + i * width, width);
                          }
                          for (std::size_t j = 0; j < run; ++j) rows[i + j] = source + j * width;
                      });
}

// kt[d, t] = rows[t][d]; lanes of a last vector that no row fills repeat the last row.
template <class V>
FAIRLEAD_INLINE void transpose_rows(const float* const* rows, std::size_t count, std::size_t width, float* kt) {
    for (std::size_t t = 0; t < count; t += V::width) {
        for (std::size_t d = 0; d < width; d += V::width) {
            typename V::Vec block[V::width];
            FAIRLEAD_UNROLL
            for (int i = 0; i < V::width; ++i) block[i] = V::load(rows[t + i < count ? t + i : count - 1] + d);
            V::transpose(block);
            FAIRLEAD_UNROLL
            for (int i = 0; i < V::width; ++i) V::store(kt + (d + i) * kTokenBlock + t, block[i]);
        }
    }
}

// The same for rows of words of which not all fill whole vectors; the words are moved and not looked at.
template <class V>
FAIRLEAD_INLINE void transpose_words(const float* const* rows, std::size_t count, std::size_t words, float* kt) {
    for (std::size_t t = 0; t < count; t += V::width) {
        for (std::size_t d = 0; d < words; d += V::width) {
            const std::size_t some = words - d < static_cast<std::size_t>(V::width) ? words - d : V::width;
            typename V::Vec block[V::width];
            FAIRLEAD_UNROLL
            for (int i = 0; i < V::width; ++i) {
                const float* row = rows[t + i < count ? t + i : count - 1] + d;
                block[i] = some == static_cast<std::size_t>(V::width) ? V::load(row) : V::load_n(row, some);
            }
            V::transpose(block);
            for (std::size_t i = 0; i < some; ++i) V::store(kt + (d + i) * kTokenBlock + t, block[i]);
        }
    }
}

// Whether products with keys of a format are those of bytes (code_logits).
template <class V>
FAIRLEAD_INLINE bool as_codes(const PageFormat& format, std::size_t head_dim) {
    return V::byte_dots && format.key_bits < 16 && head_dim <= kMostByteDots &&
           head_dim * static_cast<std::size_t>(format.key_bits) % 32 == 0;
}

template <class V>
FAIRLEAD_INLINE void load_keys(const UnifiedView& pages, const std::int32_t* table, int which, TokenBlock<V>& block) {
    const VectorSegment segment = key_segment(pages.tier[which], pages.head_dim);
    const float* rows[kTokenBlock];
    if (as_codes<V>(pages.tier[which], pages.head_dim)) {
        for_each_page_run(pages, table, which, block.first, block.count,
                          [&](std::uint8_t* page, std::size_t slot, std::size_t run, std::size_t i) {
                              const std::uint8_t* codes = segment.at(page, slot);
                              for (std::size_t j = 0; j < run; ++j) {
                                  rows[i + j] = reinterpret_cast<const float*>(codes + j * segment.bytes);
                              }
                              float both[2 * kTokenBlock];
                              expand_halves<V>(segment.meta_at(page, slot), 2 * run, both);
                              for (std::size_t j = 0; j < run; ++j) {
                                  block.key_scale[i + j] = both[2 * j];
                                  block.key_zero[i + j] = both[2 * j + 1];
                              }
                          });
        transpose_words<V>(rows, block.count, segment.bytes / 4, block.kt);
        return;
    }
    find_rows<V>(pages, table, which, segment, block.first, block.count, block.buffer, rows);
    transpose_rows<V>(rows, block.count, padded<V>(pages.head_dim), block.kt);
}

template <class V>
FAIRLEAD_INLINE void load_values(const UnifiedView& pages, const std::int32_t* table, int which, TokenBlock<V>& block) {
    const VectorSegment segment = value_segment(pages.tier[which], pages.head_dim);
    find_rows<V>(pages, table, which, segment, block.first, block.count, block.buffer, block.values);
}

// Splits `vectors` into runs of V::attend_vectors, then of 2 and 1, and calls f(run as a constant, first vector).
template <class V, class F>
FAIRLEAD_INLINE void for_each_run(std::size_t vectors, const F& f) {
    std::size_t at = 0;
    for (; at + V::attend_vectors <= vectors; at += V::attend_vectors) f(Index<V::attend_vectors>{}, at);
    if constexpr (V::attend_vectors > 2) {
        for (; at + 2 <= vectors; at += 2) f(Index<2>{}, at);
    }
    for (; at < vectors; ++at) f(Index<1>{}, at);
}

// logits [R, kTokenBlock] of `tokens` tokens.
template <class V, int R>
void row_logits(const float* q, std::size_t width, const float* kt, std::size_t tokens, float* logits) {
    for_each_run<V>((tokens + V::width - 1) / V::width, [&](auto run, std::size_t at) {
        multiply_keys<V, R, decltype(run)::value>(q, width, kt + at * V::width, logits + at * V::width);
    });
}

template <class V, int R>
void row_values(const float* weight, const float* const* values, std::size_t tokens, const float* shrink, float* out,
                std::size_t width) {
    for_each_run<V>(width / V::width, [&](auto run, std::size_t at) {
        add_values<V, R, decltype(run)::value>(weight, values, at * V::width, tokens, shrink, out + at * V::width,
                                               width);
    });
}

// Calls f(R as a constant) for a number of rows up to V::attend_rows.
template <class V, int R = V::attend_rows, class F>
FAIRLEAD_INLINE void with_rows(std::size_t rows, const F& f) {
    if constexpr (R == 1) {
        f(Index<1>{});
    } else {
        if (rows == static_cast<std::size_t>(R)) return f(Index<R>{});
        with_rows<V, R - 1>(rows, f);
    }
}

// Queries as whole numbers of 15 bits, in two bytes each: q = scale * (128 * upper + lower). What that loses is to a
// query's largest element as 1 to 32638: less than a float16 does.
struct CodedQueries {
    std::int8_t* upper = nullptr;  // [rows, width]
    std::int8_t* lower = nullptr;
    float* scale = nullptr;  // [rows]
    float* sum = nullptr;    // of a query's elements

    static FAIRLEAD_INLINE std::size_t floats(std::size_t rows, std::size_t width) {
        return rows * width / 2 + 2 * rows + 2;
    }
    CodedQueries() = default;
    CodedQueries(float* memory, std::size_t rows, std::size_t width)
        : upper(reinterpret_cast<std::int8_t*>(memory + 2 * rows)),
          lower(upper + rows * width),
          scale(memory),
          sum(memory + rows) {}
};

FAIRLEAD_INLINE void code_queries(const float* q, std::size_t rows, std::size_t width, const CodedQueries& coded) {
    for (std::size_t r = 0; r < rows; ++r) {
        const float* from = q + r * width;
        float largest = 0.0F;
        for (std::size_t d = 0; d < width; ++d) {
            const float size = from[d] < 0.0F ? -from[d] : from[d];
            largest = size > largest ? size : largest;
        }
        std::int32_t sum = 0;
        // What has no number becomes one that is lost in the products: attention over it is lost anyway.
        const float scale = largest < 3e38F ? largest / 16319.0F : 0.0F;
        const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
        coded.scale[r] = largest < 3e38F ? scale : __builtin_nanf("");
        for (std::size_t d = 0; d < width; ++d) {
            const float place = from[d] * inverse;
            const std::int32_t whole = place == place ? static_cast<std::int32_t>(place + (place < 0.0F ? -0.5F : 0.5F)) : 0;
            const std::int32_t upper = (whole + 64) >> 7;
            coded.upper[r * width + d] = static_cast<std::int8_t>(upper);
            coded.lower[r * width + d] = static_cast<std::int8_t>(whole - 128 * upper);
            sum += whole;
        }
        // Of what was rounded, so that codes far from zero do not multiply what the rounding lost.
        coded.sum[r] = coded.scale[r] * static_cast<float>(sum);
    }
}

// out[r, t] = q[r] . (scale[t] * code[t] + zero[t]) for R rows and C vectors of tokens, through products of bytes.
template <class V, int R, int C, int Bits>
FAIRLEAD_INLINE void multiply_codes(const CodedQueries& coded, std::size_t row, std::size_t width, std::size_t words,
                                    const float* kt, const float* key_scale, const float* key_zero, float* out) {
    typename V::Int upper[R][C], lower[R][C];
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) upper[r][c] = lower[r][c] = V::to_int(V::raw_zero());
    }
    for (std::size_t j = 0; j < words; ++j) {
        typename V::Raw codes[C];
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) codes[c] = V::raw(kt + j * kTokenBlock + c * V::width);
        unrolled<8 / Bits>([&](auto plane) {
            constexpr int kPlane = decltype(plane)::value;
            typename V::Raw part[C];
            FAIRLEAD_UNROLL
            for (int c = 0; c < C; ++c) part[c] = V::template bytes_of<kPlane * Bits, Bits>(codes[c]);
            FAIRLEAD_UNROLL
            for (int r = 0; r < R; ++r) {
                const std::size_t at = (row + r) * width + 4 * (kPlane * words + j);
                const typename V::Raw high = V::raw_word(coded.upper + at), low = V::raw_word(coded.lower + at);
                FAIRLEAD_UNROLL
                for (int c = 0; c < C; ++c) {
                    upper[r][c] = V::dot_bytes(upper[r][c], part[c], high);
                    lower[r][c] = V::dot_bytes(lower[r][c], part[c], low);
                }
            }
        });
    }
    FAIRLEAD_UNROLL
    for (int r = 0; r < R; ++r) {
        const typename V::Vec scale = V::set1(coded.scale[row + r]), sum = V::set1(coded.sum[row + r]);
        FAIRLEAD_UNROLL
        for (int c = 0; c < C; ++c) {
            const typename V::Vec product = V::mul(V::to_float(V::join_bytes(upper[r][c], lower[r][c])), scale);
            const typename V::Vec offset = V::mul(V::load(key_zero + c * V::width), sum);
            V::store(out + r * kTokenBlock + c * V::width, V::fma(V::load(key_scale + c * V::width), product, offset));
        }
    }
}

template <class V, int R, int Bits>
void code_logits(const CodedQueries& coded, std::size_t row, std::size_t width, std::size_t words,
                 const TokenBlock<V>& block, std::size_t tokens, float* logits) {
    const std::size_t vectors = (tokens + V::width - 1) / V::width;
    const auto some = [&](auto number, std::size_t at) {
        const std::size_t t = at * V::width;
        multiply_codes<V, R, decltype(number)::value, Bits>(coded, row, width, words, block.kt + t,
                                                            block.key_scale + t, block.key_zero + t, logits + t);
    };
    std::size_t at = 0;
    for (; at + 2 <= vectors; at += 2) some(Index<2>{}, at);
    if (at < vectors) some(Index<1>{}, at);
}

// logits [R, kTokenBlock] of the first `tokens` tokens of a block whose keys have been loaded.
template <class V, int R>
FAIRLEAD_INLINE void block_logits(const UnifiedView& pages, int which, const float* q, const CodedQueries& coded,
                                  std::size_t row, const TokenBlock<V>& block, std::size_t tokens, float* logits) {
    const std::size_t width = padded<V>(pages.head_dim);
    if constexpr (V::byte_dots) {
        if (as_codes<V>(pages.tier[which], pages.head_dim)) {
            const int bits = pages.tier[which].key_bits;
            const std::size_t words = pages.head_dim * static_cast<std::size_t>(bits) / 32;
            if (bits == 8) return code_logits<V, R, 8>(coded, row, width, words, block, tokens, logits);
            if (bits == 4) return code_logits<V, R, 4>(coded, row, width, words, block, tokens, logits);
            return code_logits<V, R, 2>(coded, row, width, words, block, tokens, logits);
        }
    }
    row_logits<V, R>(q + row * width, width, block.kt, tokens, logits);
}

// The running softmax of one row.
struct RowState {
    float largest = kNone;
    float sum = 0.0F;
};

template <class V>
FAIRLEAD_INLINE float exponential_of(float x) {
    float lanes[V::width];
    V::store(lanes, exponential<V>(V::set1(x)));
    return lanes[0];
}

// Turns a row's logits [padded tokens] into weights, moves its state on, and returns by what its output shrinks.
template <class V>
FAIRLEAD_INLINE float soften(float* logits, std::size_t tokens, RowState& state) {
    typename V::Vec lanes = V::load(logits);
    for (std::size_t t = V::width; t < tokens; t += V::width) lanes = V::max(lanes, V::load(logits + t));
    const float found = V::largest(lanes);
    const float higher = found > state.largest ? found : state.largest;
    // Of a row that has seen nothing yet all logits are minus infinity: 0 keeps the differences numbers.
    const typename V::Vec shift = V::set1(higher == kNone ? 0.0F : higher);
    typename V::Vec sum = V::zero();
    for (std::size_t t = 0; t < tokens; t += V::width) {
        const typename V::Vec weight = exponential<V>(V::sub(V::load(logits + t), shift));
        V::store(logits + t, weight);
        sum = V::add(sum, weight);
    }
    const float shrink = higher == state.largest ? 1.0F : exponential_of<V>(state.largest - higher);
    state.sum = state.sum * shrink + V::sum(sum);
    state.largest = higher;
    return shrink;
}

// What a tile needs while it is computed.
template <class V>
struct TileScratch {
    float* q;    // [rows, width], times the scale
    float* out;  // [rows, width], of the split at hand
    float* whole;
    RowState* state;
    RowState* whole_state;
    CodedQueries coded;
    TokenBlock<V> block;

    static std::size_t floats(std::size_t rows, std::size_t width) {
        return 3 * rows * width + 4 * rows + CodedQueries::floats(rows, width) + TokenBlock<V>::floats(width) + 64;
    }
    TileScratch(float* memory, std::size_t rows, std::size_t width) {
        q = memory;
        out = q + rows * width;
        whole = out + rows * width;
        state = reinterpret_cast<RowState*>(whole + rows * width);
        whole_state = state + rows;
        coded = CodedQueries(whole + rows * width + 4 * rows, rows, width);
        float* rest = whole + rows * width + 4 * rows + CodedQueries::floats(rows, width);
        // At a cache line, as blocks are read again and again.
        rest += (64 - reinterpret_cast<std::uintptr_t>(rest) % 64) % 64 / sizeof(float);
        block.kt = rest;
        block.buffer = rest + kTokenBlock * width;
    }
};

template <class V>
FAIRLEAD_INLINE void scale_queries(const UnifiedTile& tile, std::size_t width, float* q) {
    const std::size_t dim = tile.pages->head_dim;
    for (std::size_t row = 0; row < tile.rows(); ++row) {
        const float* from = tile.queries + row / tile.group * tile.stride + row % tile.group * dim;
        for (std::size_t d = 0; d < dim; ++d) q[row * width + d] = from[d] * tile.scale;
        for (std::size_t d = dim; d < width; ++d) q[row * width + d] = 0.0F;
    }
}

// Scales the queries and, where a tier needs them so, codes them.
template <class V>
FAIRLEAD_INLINE void take_queries(const UnifiedTile& tile, std::size_t width, TileScratch<V>& scratch) {
    scale_queries<V>(tile, width, scratch.q);
    const UnifiedView& pages = *tile.pages;
    bool coded = false;
    for (int which : {kHigh, kLow}) coded |= tile.counts[which] > 0 && as_codes<V>(pages.tier[which], pages.head_dim);
    if (coded) code_queries(scratch.q, tile.rows(), width, scratch.coded);
}

FAIRLEAD_INLINE std::int32_t stored_position(const UnifiedView& pages, const std::int32_t* table, int which,
                                             std::size_t token) {
    const std::size_t tokens = pages.tier[which].tokens;
    const std::uint8_t* page = pages.page(table, which, token / tokens);
    return reinterpret_cast<const std::int32_t*>(page + pages.tier[which].positions)[token % tokens];
}

// The position of query t of a tile that has a window.
FAIRLEAD_INLINE std::int32_t query_position(const UnifiedTile& tile, std::size_t t) {
    if (tile.positions != nullptr) return tile.positions[t];
    return stored_position(*tile.pages, tile.table, kHigh, tile.seen(t, kHigh) - 1);
}

// Differences of positions wrap around as those of the reference do.
FAIRLEAD_INLINE std::int32_t distance(std::int32_t query, std::int32_t token) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(query) - static_cast<std::uint32_t>(token));
}

// Puts minus infinity where a row sees no token of the block; `padded_tokens` logits are defined afterwards.
FAIRLEAD_INLINE void mask_logits(const UnifiedTile& tile, std::size_t t, int which, std::size_t first,
                                 std::size_t padded_tokens, const std::int32_t* positions, float* logits) {
    const std::size_t seen = tile.seen(t, which);
    const std::size_t count = seen <= first ? 0 : seen - first;
    for (std::size_t i = count; i < padded_tokens; ++i) logits[i] = kNone;
    if (tile.window > 0) {
        const std::int32_t query = query_position(tile, t), window = tile.window;
        const std::size_t last = count < padded_tokens ? count : padded_tokens;
        for (std::size_t i = 0; i < last; ++i) logits[i] = distance(query, positions[i]) < window ? logits[i] : kNone;
    }
}

// One block of a tier over the rows of a tile that see any of it.
template <class V>
FAIRLEAD_INLINE void attend_block(const UnifiedTile& tile, int which, TileScratch<V>& scratch, std::size_t first,
                                  std::size_t end) {
    const UnifiedView& pages = *tile.pages;
    const std::size_t width = padded<V>(pages.head_dim), rows = tile.rows();
    std::size_t begin = 0;  // the first token of the tile that sees any of the block
    while (begin < tile.tokens && tile.seen(begin, which) <= first) ++begin;
    if (begin == tile.tokens) return;
    TokenBlock<V>& block = scratch.block;
    block.first = first;
    block.count = end - first;
    std::int32_t positions[kTokenBlock];
    if (tile.window > 0) {
        const std::size_t at = pages.tier[which].positions;
        for_each_page_run(pages, tile.table, which, first, block.count,
                          [&](std::uint8_t* page, std::size_t slot, std::size_t run, std::size_t i) {
                              __builtin_memcpy(positions + i, page + at + slot * sizeof(std::int32_t),
                                               run * sizeof(std::int32_t));
                          });
        bool any = false;
        for (std::size_t t = begin; t < tile.tokens && !any; ++t) {
            const std::int32_t query = query_position(tile, t);
            for (std::size_t i = 0; i < block.count; ++i) any |= distance(query, positions[i]) < tile.window;
        }
        if (!any && tile.logits == nullptr) return;
    }
    // In this order: once the keys are transposed the values may overwrite what they were read into.
    load_keys<V>(pages, tile.table, which, block);
    load_values<V>(pages, tile.table, which, block);
    float logits[V::attend_rows * kTokenBlock];
    for (std::size_t row = begin * tile.group; row < rows;) {
        const std::size_t left = rows - row;
        const std::size_t some = left < static_cast<std::size_t>(V::attend_rows) ? left : V::attend_rows;
        const std::size_t seen = tile.seen((row + some - 1) / tile.group, which) - first;
        const std::size_t tokens = seen < block.count ? seen : block.count;
        float shrink[V::attend_rows];
        with_rows<V>(some, [&](auto number) {
            constexpr int R = decltype(number)::value;
            block_logits<V, R>(pages, which, scratch.q, scratch.coded, row, block, tokens, logits);
            for (int r = 0; r < R; ++r) {
                float* mine = logits + r * kTokenBlock;
                mask_logits(tile, (row + r) / tile.group, which, first, padded<V>(tokens), positions, mine);
                if (tile.logits != nullptr) {
                    float* kept = tile.logits + (row + r) * tile.logits_stride + (which == kLow ? tile.counts[kHigh] : 0);
                    __builtin_memcpy(kept + first, mine, tokens * sizeof(float));
                }
                shrink[r] = soften<V>(mine, padded<V>(tokens), scratch.state[row + r]);
            }
            row_values<V, R>(logits, block.values, tokens, shrink, scratch.out + row * width, width);
        });
        row += some;
    }
}

// Adds a part's softmax to a whole one: out [width].
template <class V>
FAIRLEAD_INLINE void merge_row(RowState& whole, float* out, const RowState& part, const float* part_out,
                               std::size_t width) {
    if (part.largest == kNone) return;
    const float higher = part.largest > whole.largest ? part.largest : whole.largest;
    const float mine = higher == whole.largest ? 1.0F : exponential_of<V>(whole.largest - higher);
    const float its = higher == part.largest ? 1.0F : exponential_of<V>(part.largest - higher);
    whole.sum = whole.sum * mine + part.sum * its;
    whole.largest = higher;
    const typename V::Vec a = V::set1(mine), b = V::set1(its);
    for (std::size_t d = 0; d < width; d += V::width) {
        V::store(out + d, V::fma(V::load(part_out + d), b, V::mul(V::load(out + d), a)));
    }
}

// What a split leaves behind of each row: its state and its output.
FAIRLEAD_INLINE std::size_t partial_floats(std::size_t width) { return width + 2; }

template <class V>
FAIRLEAD_INLINE void finish_row(const UnifiedTile& tile, std::size_t row, const RowState& state, const float* out) {
    const std::size_t t = row / tile.group, member = row % tile.group, dim = tile.pages->head_dim;
    float* target = tile.out + t * tile.stride + member * dim;
    const float inverse = state.sum > 0.0F ? 1.0F / state.sum : 0.0F;
    for (std::size_t d = 0; d < dim; ++d) target[d] = out[d] * inverse;
    tile.total[t * tile.heads + member] = state.sum > 0.0F ? state.largest + __builtin_logf(state.sum) : kNone;
}

// The first and the last token, in its tier, of a split; returns the tier.
FAIRLEAD_INLINE int split_range(const UnifiedTile& tile, std::size_t split, std::size_t& first, std::size_t& end) {
    const std::size_t high = splits_of(tile.counts[kHigh]);
    const int which = split < high ? kHigh : kLow;
    first = (which == kHigh ? split : split - high) * kSplitTokens;
    end = first + kSplitTokens < tile.counts[which] ? first + kSplitTokens : tile.counts[which];
    return which;
}

// Attention of a tile over splits [begin, end): into its output, or, where `partial` is given, what split `begin` alone
// leaves behind: [rows, partial_floats].
template <class V>
void attend_tile(const UnifiedTile& tile, std::size_t begin, std::size_t end, float* memory, float* partial) {
    const std::size_t width = padded<V>(tile.pages->head_dim), rows = tile.rows();
    TileScratch<V> scratch(memory, rows, width);
    take_queries<V>(tile, width, scratch);
    for (std::size_t row = 0; row < rows; ++row) scratch.whole_state[row] = RowState{};
    for (std::size_t i = 0; i < rows * width; ++i) scratch.whole[i] = 0.0F;
    for (std::size_t split = begin; split < end; ++split) {
        std::size_t first = 0, last = 0;
        const int which = split_range(tile, split, first, last);
        for (std::size_t row = 0; row < rows; ++row) scratch.state[row] = RowState{};
        for (std::size_t i = 0; i < rows * width; ++i) scratch.out[i] = 0.0F;
        for (std::size_t at = first; at < last; at += kTokenBlock) {
            attend_block<V>(tile, which, scratch, at, at + kTokenBlock < last ? at + kTokenBlock : last);
        }
        for (std::size_t row = 0; row < rows; ++row) {
            const float* out = scratch.out + row * width;
            if (partial == nullptr) {
                merge_row<V>(scratch.whole_state[row], scratch.whole + row * width, scratch.state[row], out, width);
            } else {
                float* kept = partial + row * partial_floats(width);
                kept[0] = scratch.state[row].largest;
                kept[1] = scratch.state[row].sum;
                __builtin_memcpy(kept + 2, out, width * sizeof(float));
            }
        }
    }
    for (std::size_t row = 0; partial == nullptr && row < rows; ++row) {
        finish_row<V>(tile, row, scratch.whole_state[row], scratch.whole + row * width);
    }
}

// Puts the splits of a tile together, in their order: partial [splits, rows, partial_floats].
template <class V>
void merge_tile(const UnifiedTile& tile, std::size_t splits, const float* partial, float* memory) {
    const std::size_t width = padded<V>(tile.pages->head_dim), rows = tile.rows(), size = partial_floats(width);
    for (std::size_t row = 0; row < rows; ++row) {
        RowState whole;
        for (std::size_t d = 0; d < width; ++d) memory[d] = 0.0F;
        for (std::size_t split = 0; split < splits; ++split) {
            const float* part = partial + (split * rows + row) * size;
            merge_row<V>(whole, memory, RowState{part[0], part[1]}, part + 2, width);
        }
        finish_row<V>(tile, row, whole, memory);
    }
}

template <class V>
std::size_t padded_partial_floats(std::size_t head_dim) {
    return partial_floats(padded<V>(head_dim));
}

template <class V>
std::size_t tile_floats(std::size_t rows, std::size_t head_dim) {
    return TileScratch<V>::floats(rows, padded<V>(head_dim));
}

}  // namespace fairlead::kernels

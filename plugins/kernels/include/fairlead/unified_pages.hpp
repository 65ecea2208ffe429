#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"

namespace fairlead {

// The two tiers of a row of a page table: pages of the high one grow from its left end, those of the low one from its
// right end.
inline constexpr int kHigh = 0;
inline constexpr int kLow = 1;

// Where the segments of a page of one format begin, in bytes; bits are 2, 4, 8 (with a float16 scale and zero point a
// vector), 16 or 32 (floats).
struct PageFormat {
    int key_bits = 32;
    int value_bits = 32;
    std::size_t tokens = 0;
    std::size_t keys = 0;
    std::size_t key_meta = 0;
    std::size_t values = 0;
    std::size_t value_meta = 0;
    std::size_t scores = 0;
    std::size_t positions = 0;
};

// Borrowed pages uint8 [count, page_bytes] and the page tables int32 [rows, width] over them.
struct UnifiedView {
    std::uint8_t* data = nullptr;
    std::size_t page_bytes = 0;
    std::size_t head_dim = 0;
    PageFormat tier[2];
    const std::int32_t* tables = nullptr;
    std::size_t width = 0;

    // The page that holds a tier's page number `place` of a table row.
    FAIRLEAD_INLINE std::uint8_t* page(const std::int32_t* table, int which, std::size_t place) const {
        return data + static_cast<std::size_t>(table[which == kLow ? width - 1 - place : place]) * page_bytes;
    }
};

// A number of queries of one sequence and one KV head over the tokens of one table row: `tokens` times `group` vectors.
struct UnifiedTile {
    const UnifiedView* pages = nullptr;
    const std::int32_t* table = nullptr;
    // Of the first token; the next token's are `stride` floats on.
    const float* queries = nullptr;
    float* out = nullptr;
    std::size_t stride = 0;
    // The logarithms of the sums; the next token's are `heads` floats on.
    float* total = nullptr;
    std::size_t heads = 0;
    std::size_t tokens = 0;
    std::size_t group = 0;
    // Tokens of each tier that the last query sees. Where `causal`, each query sees one of the high tier less than the
    // next one.
    std::size_t counts[2] = {0, 0};
    bool causal = false;
    float scale = 1.0F;
    // A query sees tokens less than `window` positions before its own; 0: all.
    std::int32_t window = 0;
    // Of the queries; null: those stored where the causal queries themselves stand.
    const std::int32_t* positions = nullptr;
    // Where not null, logits of all tokens, high tier first: [group, logits_stride]; for tiles of one token.
    float* logits = nullptr;
    std::size_t logits_stride = 0;

    FAIRLEAD_INLINE std::size_t rows() const { return tokens * group; }
    // Tokens of a tier that query t sees.
    FAIRLEAD_INLINE std::size_t seen(std::size_t t, int which) const {
        return causal && which == kHigh ? counts[kHigh] - (tokens - 1 - t) : counts[which];
    }
};

// Tokens whose attention is summed up by itself before it is merged with that of others: no result depends on who
// computes which of these parts.
inline constexpr std::size_t kSplitTokens = 512;

FAIRLEAD_INLINE std::size_t splits_of(std::size_t count) { return (count + kSplitTokens - 1) / kSplitTokens; }

// What update_scores needs of one table row.
struct ScoreTask {
    const UnifiedView* pages = nullptr;
    const std::int32_t* table = nullptr;
    std::size_t counts[2] = {0, 0};
    const float* logits = nullptr;
    std::size_t logits_stride = 0;
    const float* totals = nullptr;
    std::size_t group = 0;
    std::int32_t now = 0;
    // How many hold each page; null: one each.
    const std::int32_t* holders = nullptr;
};

// Vectors of one token: where its page begins and its slot there.
struct TokenPlace {
    std::uint8_t* page = nullptr;
    std::size_t slot = 0;
};

}  // namespace fairlead

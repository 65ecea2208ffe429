#pragma once

#include <vector>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// The kernels for unified pages spread over the thread pool. No result depends on the number of threads, nor on what
// else is in a batch. Arguments have been checked: every page that a call touches exists.

// Queries of several sequences: [queries, heads, head_dim], those of sequence s from starts[s] to starts[s + 1].
struct AttentionBatch {
    UnifiedView pages;
    const float* queries = nullptr;
    float* out = nullptr;
    float* total = nullptr;  // [queries, heads]
    std::size_t sequences = 0;
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    const std::int32_t* starts = nullptr;
    const std::int32_t* rows = nullptr;  // [sequences, kv_heads]
    // Causal: tokens of each sequence before its queries' own, which stand in the high tier behind them. Otherwise
    // tokens of both tiers of each table row [rows, 2].
    const std::int32_t* counts = nullptr;
    bool causal = false;
    float scale = 1.0F;
    std::int32_t window = 0;
    const std::int32_t* positions = nullptr;
    // Where not null: positions of the one query that each sequence has, which then goes into its tokens' scores.
    const std::int32_t* now = nullptr;
    const std::int32_t* holders = nullptr;
};

void attend(const KernelTable& k, const AttentionBatch& batch);

// received[s], where not null: float32 [heads, stored + chunk] of a causal batch whose totals have been computed.
void add_received(const KernelTable& k, const AttentionBatch& batch, const std::vector<float*>& received);

// Vectors [tokens, kv_heads, head_dim] into slots [tokens, kv_heads] of the rows [tokens, kv_heads]; negative slots are
// left out.
struct WriteBatch {
    UnifiedView pages;
    int tier = kHigh;
    std::size_t tokens = 0;
    std::size_t kv_heads = 0;
    const std::int32_t* rows = nullptr;
    const std::int32_t* slots = nullptr;
    const float* keys = nullptr;
    const float* values = nullptr;
    const float* scores = nullptr;
    const std::int32_t* positions = nullptr;
};

void write(const KernelTable& k, const WriteBatch& batch);

// Single tokens as floats: keys and values [count, head_dim], scores float16, positions.
void gather(const KernelTable& k, const UnifiedView& pages, int tier, const std::int32_t* rows,
            const std::int32_t* slots, std::size_t count, float* keys, float* values, std::uint16_t* scores,
            std::int32_t* positions);

// Copies tokens within their row and tier, one after the other; where either is negative nothing is copied.
void copy_slots(const UnifiedView& pages, int tier, const std::int32_t* rows, const std::int32_t* sources,
                const std::int32_t* targets, std::size_t count);

// Scores, positions and page numbers of all tokens of a tier in some rows, whose counts [count, 2] are given: [count,
// longest] each; zeros beyond a row's count.
void bookkeeping(const UnifiedView& pages, int tier, const std::int32_t* rows, const std::int32_t* counts,
                 std::size_t count, std::size_t longest, float* scores, std::int32_t* positions, std::int32_t* page);

}  // namespace fairlead

#pragma once

#include "kernels/unified_attend.hpp"

namespace fairlead::kernels {

// Significance of stored tokens (LeanKV): running means of the attention that they get, float16, in the pages.

inline constexpr float kHorizon = 512.0F;

// Takes weights into the scores of `count` tokens that follow one another in a page from a slot on.
template <class V>
FAIRLEAD_INLINE void update_run(std::uint8_t* page, const PageFormat& format, std::size_t slot, std::size_t count,
                                const float* weights, std::int32_t now) {
    std::uint16_t* scores = reinterpret_cast<std::uint16_t*>(page + format.scores) + slot;
    const std::int32_t* positions = reinterpret_cast<const std::int32_t*>(page + format.positions) + slot;
    const typename V::Vec query = V::set1(static_cast<float>(now)), one = V::set1(1.0F);
    for (std::size_t i = 0; i < count; i += V::width) {
        const std::size_t some = count - i < static_cast<std::size_t>(V::width) ? count - i : V::width;
        std::int32_t lanes[V::width] = {};
        __builtin_memcpy(lanes, positions + i, some * sizeof(std::int32_t));
        const typename V::Vec position = V::to_float(V::to_int(V::raw(lanes)));
        const typename V::Vec weight = some == static_cast<std::size_t>(V::width) ? V::load(weights + i) : V::load_n(weights + i, some);
        const typename V::Vec score = V::from_half(scores + i, some);
        const typename V::Vec age = V::min(V::set1(kHorizon), V::max(one, V::sub(query, position)));
        const typename V::Vec relative = V::min(V::set1(kLargestHalf), V::mul(weight, V::add(position, one)));
        const typename V::Vec step = V::div(V::sub(relative, score), age);
        // A token's own query, and whatever came before it, changes nothing.
        V::to_half(scores + i, V::add(score, V::zero_unless_greater(step, query, position)), some);
    }
}

template <class V>
void update_scores(const ScoreTask& task) {
    const UnifiedView& pages = *task.pages;
    std::size_t offset = 0;
    for (int which : {kHigh, kLow}) {
        const PageFormat& format = pages.tier[which];
        for (std::size_t first = 0, place = 0; first < task.counts[which]; first += format.tokens, ++place) {
            const std::size_t left = task.counts[which] - first;
            const std::size_t tokens = left < format.tokens ? left : format.tokens;
            std::uint8_t* page = pages.page(task.table, which, place);
            if (task.holders != nullptr && task.holders[static_cast<std::size_t>(page - pages.data) / pages.page_bytes] > 1) continue;
            for (std::size_t slot = 0; slot < tokens; slot += kTokenBlock) {
                const std::size_t some = tokens - slot < kTokenBlock ? tokens - slot : kTokenBlock;
                float weights[kTokenBlock];
                for (std::size_t i = 0; i < some; i += V::width) {
                    const std::size_t n = some - i < static_cast<std::size_t>(V::width) ? some - i : V::width;
                    typename V::Vec most = V::zero();
                    for (std::size_t g = 0; g < task.group; ++g) {
                        const float* logits = task.logits + g * task.logits_stride + offset + first + slot + i;
                        most = V::max(most, exponential<V>(V::sub(V::load_n(logits, n), V::set1(task.totals[g]))));
                    }
                    V::store_n(weights + i, most, n);
                }
                update_run<V>(page, format, slot, some, weights, task.now);
            }
        }
        offset += task.counts[which];
    }
}

// Adds up what one block of at most kTokenBlock tokens gets.
template <class V>
FAIRLEAD_INLINE void receive_block(const UnifiedTile& tile, std::size_t first, std::size_t count, float* received,
                                   std::size_t received_stride, TileScratch<V>& scratch) {
    const UnifiedView& pages = *tile.pages;
    const std::size_t width = padded<V>(pages.head_dim), dim = pages.head_dim;
    scratch.block.first = first;
    scratch.block.count = count;
    load_keys<V>(pages, tile.table, kHigh, scratch.block);
    const bool coded = as_codes<V>(pages.tier[kHigh], dim);
    std::int32_t positions[kTokenBlock] = {};
    if (tile.window > 0) {
        for (std::size_t i = 0; i < count; ++i) positions[i] = stored_position(pages, tile.table, kHigh, first + i);
    }
    float logits[kTokenBlock];
    for (std::size_t t = 0; t < tile.tokens; ++t) {
        const std::size_t seen = tile.seen(t, kHigh);
        if (seen <= first) continue;
        const std::size_t tokens = seen - first < count ? seen - first : count;
        for (std::size_t g = 0; g < tile.group; ++g) {
            const float* from = tile.queries + t * tile.stride + g * dim;
            for (std::size_t d = 0; d < dim; ++d) scratch.q[d] = from[d] * tile.scale;
            for (std::size_t d = dim; d < width; ++d) scratch.q[d] = 0.0F;
            if (coded) code_queries(scratch.q, 1, width, scratch.coded);
            block_logits<V, 1>(pages, kHigh, scratch.q, scratch.coded, 0, scratch.block, tokens, logits);
            mask_logits(tile, t, kHigh, first, padded<V>(tokens), positions, logits);
            const typename V::Vec total = V::set1(tile.total[t * tile.heads + g]);
            for (std::size_t i = 0; i < tokens; i += V::width) {
                V::store(logits + i, exponential<V>(V::sub(V::load(logits + i), total)));
            }
            // A token's own query does not count.
            if (seen - 1 - first < count) logits[seen - 1 - first] = 0.0F;
            float* into = received + g * received_stride;
            for (std::size_t i = 0; i < tokens; ++i) into[first + i] += logits[i];
        }
    }
}

template <class V>
void add_received(const UnifiedTile& tile, std::size_t first, std::size_t end, float* received,
                  std::size_t received_stride, float* memory) {
    const std::size_t width = padded<V>(tile.pages->head_dim);
    TileScratch<V> scratch(memory, 1, width);
    for (std::size_t at = first; at < end; at += kTokenBlock) {
        receive_block<V>(tile, at, end - at < kTokenBlock ? end - at : kTokenBlock, received, received_stride, scratch);
    }
}

}  // namespace fairlead::kernels

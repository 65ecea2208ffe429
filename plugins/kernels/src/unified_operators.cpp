#include "fairlead/unified_operators.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fairlead/half.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Query vectors of a tile: enough that a block of keys is used often, few enough that their outputs stay in a cache.
constexpr std::size_t kTileRows = 96;

// Calls f(item) for each item, whose cost is `weights` on average; threads claim them one by one where they are large.
template <class F>
void for_each_item(std::size_t count, std::size_t weights, const F& f) {
    const std::size_t size = grain(weights);
    if (count <= size || ThreadPool::instance().threads() == 1) {
        for (std::size_t i = 0; i < count; ++i) f(i);
        return;
    }
    struct Job {
        const F& f;
        std::size_t count;
        std::size_t size;
    } job{f, count, size};
    ThreadPool::instance().run(
        (count + size - 1) / size,
        [](void* context, std::size_t chunk) {
            const Job& j = *static_cast<Job*>(context);
            const std::size_t end = std::min(j.count, (chunk + 1) * j.size);
            for (std::size_t i = chunk * j.size; i < end; ++i) j.f(i);
        },
        &job);
}

UnifiedTile tile_of(const AttentionBatch& batch, std::size_t sequence, std::size_t head, std::size_t first,
                    std::size_t end) {
    const std::size_t group = batch.heads / batch.kv_heads, dim = batch.pages.head_dim;
    const auto row = static_cast<std::size_t>(batch.rows[sequence * batch.kv_heads + head]);
    const auto start = static_cast<std::size_t>(batch.starts[sequence]);
    const std::size_t at = (start + first) * batch.heads + head * group;
    UnifiedTile tile;
    tile.pages = &batch.pages;
    tile.table = batch.pages.tables + row * batch.pages.width;
    tile.queries = batch.queries + at * dim;
    tile.out = batch.out + at * dim;
    tile.stride = batch.heads * dim;
    tile.total = batch.total + at;
    tile.heads = batch.heads;
    tile.tokens = end - first;
    tile.group = group;
    tile.causal = batch.causal;
    if (batch.causal) {
        tile.counts[kHigh] = static_cast<std::size_t>(batch.counts[sequence]) + end;
    } else {
        for (int which : {kHigh, kLow}) tile.counts[which] = static_cast<std::size_t>(batch.counts[2 * row + which]);
    }
    tile.scale = batch.scale;
    tile.window = batch.window;
    tile.positions = batch.positions == nullptr ? nullptr : batch.positions + start + first;
    return tile;
}

std::vector<UnifiedTile> tiles_of(const AttentionBatch& batch, std::size_t tokens_a_tile) {
    std::vector<UnifiedTile> tiles;
    for (std::size_t s = 0; s < batch.sequences; ++s) {
        const auto tokens = static_cast<std::size_t>(batch.starts[s + 1] - batch.starts[s]);
        // The last tokens see most: their tiles come first, so that threads finish together.
        for (std::size_t end = tokens; end > 0; end -= std::min(end, tokens_a_tile)) {
            const std::size_t first = end - std::min(end, tokens_a_tile);
            for (std::size_t h = 0; h < batch.kv_heads; ++h) tiles.push_back(tile_of(batch, s, h, first, end));
        }
    }
    return tiles;
}

std::size_t splits_of(const UnifiedTile& tile) {
    return fairlead::splits_of(tile.counts[kHigh]) + fairlead::splits_of(tile.counts[kLow]);
}

std::size_t cost(const UnifiedTile& tile) {
    // Reading and turning a token around costs about as much as two more queries.
    return (tile.counts[kHigh] + tile.counts[kLow]) * tile.pages->head_dim * 2 * (tile.rows() + 2);
}

// Where the logits of each tile begin, and their whole number; only tiles of one token keep them.
std::vector<float>& keep_logits(std::vector<UnifiedTile>& tiles) {
    thread_local std::vector<float> kept;
    std::size_t size = 0;
    for (UnifiedTile& tile : tiles) {
        tile.logits_stride = tile.counts[kHigh] + tile.counts[kLow];
        size += tile.group * tile.logits_stride;
    }
    if (kept.size() < size) kept.resize(size);
    size = 0;
    for (UnifiedTile& tile : tiles) {
        tile.logits = kept.data() + size;
        size += tile.group * tile.logits_stride;
    }
    return kept;
}

void take_in(const KernelTable& k, const UnifiedTile& tile, std::int32_t now, const std::int32_t* holders) {
    ScoreTask task;
    task.pages = tile.pages;
    task.table = tile.table;
    std::copy(tile.counts, tile.counts + 2, task.counts);
    task.logits = tile.logits;
    task.logits_stride = tile.logits_stride;
    task.totals = tile.total;
    task.group = tile.group;
    task.now = now;
    task.holders = holders;
    k.update_scores(task);
}

// Each tile by one thread.
template <class F>
void attend_whole(const KernelTable& k, const std::vector<UnifiedTile>& tiles, std::size_t average, const F& after) {
    for_each_item(tiles.size(), average, [&](std::size_t i) {
        const UnifiedTile& tile = tiles[i];
        k.attend_tile(tile, 0, splits_of(tile), scratch(k.tile_floats(tile.rows(), tile.pages->head_dim)), nullptr);
        after(i);
    });
}

// Each split by one thread: for few and long sequences.
template <class F>
void attend_split(const KernelTable& k, const std::vector<UnifiedTile>& tiles, std::size_t average, const F& after) {
    struct Item {
        std::size_t tile;
        std::size_t split;
        std::size_t at;
    };
    thread_local std::vector<float> partial;
    std::vector<Item> items;
    std::vector<std::size_t> first;
    std::size_t size = 0;
    for (std::size_t i = 0; i < tiles.size(); ++i) {
        const std::size_t each = tiles[i].rows() * k.partial_floats(tiles[i].pages->head_dim);
        first.push_back(size);
        for (std::size_t split = 0; split < splits_of(tiles[i]); ++split, size += each) items.push_back({i, split, size});
    }
    if (partial.size() < size) partial.resize(size);
    float* const kept = partial.data();
    for_each_item(items.size(), average * tiles.size() / std::max<std::size_t>(1, items.size()), [&](std::size_t i) {
        const UnifiedTile& tile = tiles[items[i].tile];
        k.attend_tile(tile, items[i].split, items[i].split + 1,
                      scratch(k.tile_floats(tile.rows(), tile.pages->head_dim)), kept + items[i].at);
    });
    for_each_item(tiles.size(), average / 16, [&](std::size_t i) {
        const UnifiedTile& tile = tiles[i];
        k.merge_tile(tile, splits_of(tile), kept + first[i], scratch(k.partial_floats(tile.pages->head_dim)));
        after(i);
    });
}

void copy_token(const UnifiedView& pages, int tier, const TokenPlace& from, const TokenPlace& to) {
    const PageFormat& format = pages.tier[tier];
    const auto copy = [&](std::size_t segment, std::size_t bytes) {
        std::memmove(to.page + segment + to.slot * bytes, from.page + segment + from.slot * bytes, bytes);
    };
    copy(format.keys, static_cast<std::size_t>(format.key_bits) * pages.head_dim / 8);
    copy(format.values, static_cast<std::size_t>(format.value_bits) * pages.head_dim / 8);
    if (format.key_bits < 16) copy(format.key_meta, 4);
    if (format.value_bits < 16) copy(format.value_meta, 4);
    copy(format.scores, 2);
    copy(format.positions, 4);
}

TokenPlace place_of(const UnifiedView& pages, int tier, std::int32_t row, std::int32_t slot) {
    const auto number = static_cast<std::size_t>(slot);
    const std::size_t tokens = pages.tier[tier].tokens;
    const std::int32_t* table = pages.tables + static_cast<std::size_t>(row) * pages.width;
    return {pages.page(table, tier, number / tokens), number % tokens};
}

}  // namespace

void attend(const KernelTable& k, const AttentionBatch& batch) {
    const std::size_t group = batch.heads / batch.kv_heads;
    std::vector<UnifiedTile> tiles = tiles_of(batch, std::max<std::size_t>(1, kTileRows / group));
    if (tiles.empty()) return;
    if (batch.now != nullptr) keep_logits(tiles);
    std::size_t whole = 0, splits = 0;
    for (const UnifiedTile& tile : tiles) {
        whole += cost(tile);
        splits += splits_of(tile);
    }
    const auto after = [&](std::size_t i) {
        if (batch.now != nullptr) take_in(k, tiles[i], batch.now[i / batch.kv_heads], batch.holders);
    };
    const std::size_t threads = ThreadPool::instance().threads();
    const bool split = threads > 1 && tiles.size() < 4 * threads && splits > tiles.size();
    (split ? attend_split<decltype(after)> : attend_whole<decltype(after)>)(k, tiles, whole / tiles.size(), after);
}

void add_received(const KernelTable& k, const AttentionBatch& batch, const std::vector<float*>& received) {
    struct Item {
        UnifiedTile tile;
        std::size_t first;
        float* into;
        std::size_t length;
    };
    std::vector<Item> items;
    const std::size_t group = batch.heads / batch.kv_heads;
    std::size_t whole = 0;
    for (std::size_t s = 0; s < batch.sequences; ++s) {
        const auto tokens = static_cast<std::size_t>(batch.starts[s + 1] - batch.starts[s]);
        if (received[s] == nullptr || tokens == 0) continue;
        for (std::size_t h = 0; h < batch.kv_heads; ++h) {
            const UnifiedTile tile = tile_of(batch, s, h, 0, tokens);
            const std::size_t length = tile.counts[kHigh];
            whole += cost(tile);
            for (std::size_t first = 0; first < length; first += kSplitTokens / 4) {
                items.push_back({tile, first, received[s] + h * group * length, length});
            }
        }
    }
    for_each_item(items.size(), whole / std::max<std::size_t>(1, items.size()), [&](std::size_t i) {
        const Item& item = items[i];
        const std::size_t end = std::min(item.length, item.first + kSplitTokens / 4);
        k.add_received(item.tile, item.first, end, item.into, item.length,
                       scratch(k.tile_floats(1, item.tile.pages->head_dim)));
    });
}

void write(const KernelTable& k, const WriteBatch& batch) {
    const UnifiedView& pages = batch.pages;
    const PageFormat& format = pages.tier[batch.tier];
    const std::size_t dim = pages.head_dim;
    for_each_item(batch.tokens, batch.kv_heads * dim * 8, [&](std::size_t token) {
        for (std::size_t i = token * batch.kv_heads; i < (token + 1) * batch.kv_heads; ++i) {
            if (batch.slots[i] < 0) continue;
            const TokenPlace place = place_of(pages, batch.tier, batch.rows[i], batch.slots[i]);
            const float* const key = batch.keys + i * dim;
            const float* const value = batch.values + i * dim;
            k.write_vectors(&place, &key, 1, false, format, dim);
            k.write_vectors(&place, &value, 1, true, format, dim);
            reinterpret_cast<std::uint16_t*>(place.page + format.scores)[place.slot] = float_to_half(batch.scores[i]);
            reinterpret_cast<std::int32_t*>(place.page + format.positions)[place.slot] = batch.positions[token];
        }
    });
}

void gather(const KernelTable& k, const UnifiedView& pages, int tier, const std::int32_t* rows,
            const std::int32_t* slots, std::size_t count, float* keys, float* values, std::uint16_t* scores,
            std::int32_t* positions) {
    const PageFormat& format = pages.tier[tier];
    const std::size_t dim = pages.head_dim;
    for_each_item(count, dim * 4, [&](std::size_t i) {
        const TokenPlace place = place_of(pages, tier, rows[i], slots[i]);
        k.read_vectors(&place, 1, false, format, dim, keys + i * dim);
        k.read_vectors(&place, 1, true, format, dim, values + i * dim);
        scores[i] = reinterpret_cast<const std::uint16_t*>(place.page + format.scores)[place.slot];
        positions[i] = reinterpret_cast<const std::int32_t*>(place.page + format.positions)[place.slot];
    });
}

void copy_slots(const UnifiedView& pages, int tier, const std::int32_t* rows, const std::int32_t* sources,
                const std::int32_t* targets, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        if (sources[i] < 0 || targets[i] < 0) continue;
        copy_token(pages, tier, place_of(pages, tier, rows[i], sources[i]), place_of(pages, tier, rows[i], targets[i]));
    }
}

void bookkeeping(const UnifiedView& pages, int tier, const std::int32_t* rows, const std::int32_t* counts,
                 std::size_t count, std::size_t longest, float* scores, std::int32_t* positions, std::int32_t* page) {
    const PageFormat& format = pages.tier[tier];
    for_each_item(count, longest * 16, [&](std::size_t r) {
        const std::int32_t* table = pages.tables + static_cast<std::size_t>(rows[r]) * pages.width;
        const auto tokens = static_cast<std::size_t>(counts[2 * r + static_cast<std::size_t>(tier)]);
        const std::size_t at = r * longest;
        std::fill(scores + at + tokens, scores + at + longest, 0.0F);
        std::fill(positions + at + tokens, positions + at + longest, 0);
        std::fill(page + at + tokens, page + at + longest, 0);
        for (std::size_t first = 0, place = 0; first < tokens; first += format.tokens, ++place) {
            const std::uint8_t* from = pages.page(table, tier, place);
            const std::size_t some = std::min(format.tokens, tokens - first);
            const auto number = static_cast<std::int32_t>(static_cast<std::size_t>(from - pages.data) / pages.page_bytes);
            std::fill(page + at + first, page + at + first + some, number);
            std::memcpy(positions + at + first, from + format.positions, some * sizeof(std::int32_t));
            const std::uint16_t* halves = reinterpret_cast<const std::uint16_t*>(from + format.scores);
            for (std::size_t i = 0; i < some; ++i) scores[at + first + i] = half_to_float(halves[i]);
        }
    });
}

}  // namespace fairlead

#include "fairlead/pictures/quilt.hpp"

#include <algorithm>
#include <vector>

#include "fairlead/pictures/feature_map.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead::pictures {
namespace {

// A tile's weights along a line; at the picture's borders there is no neighbour to fade into.
std::vector<float> weights(std::size_t hop, std::size_t fade, bool first, bool last) {
    std::vector<float> line(hop + fade, 1.0f);
    for (std::size_t i = 0; i < fade; ++i) {
        const float share = (static_cast<float>(i) + 0.5f) / static_cast<float>(fade);
        if (!first) line[i] = share;
        if (!last) line[hop + fade - 1 - i] = share;
    }
    return line;
}

// Each weight three times.
std::vector<float> of_colours(const std::vector<float>& line) {
    std::vector<float> found(3 * line.size());
    for (std::size_t i = 0; i < found.size(); ++i) found[i] = line[i / 3];
    return found;
}

// Those of a kind.
std::vector<std::size_t> of_kind(const std::int32_t* kinds, std::size_t count, std::int32_t kind) {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < count; ++i)
        if (kinds[i] == kind) found.push_back(i);
    return found;
}

void nearest_of_kind(const Choice& choice, std::int32_t kind, std::int32_t* found) {
    const auto tiles = of_kind(choice.wanted_kinds, choice.count, kind);
    const auto places = of_kind(choice.patch_kinds, choice.places, kind);
    if (tiles.empty()) return;
    // One column a patch: half its squared length less the product with what is wanted, which falls with the distance.
    const std::size_t size = choice.size, columns = (places.size() + kGroup - 1) / kGroup * kGroup;
    std::vector<float> turned(size * columns, 0.0f), halves(columns, 0.0f), rows(tiles.size() * size);
    for (std::size_t at = 0; at < places.size(); ++at) {
        const float* patch = choice.patches + places[at] * size;
        float square = 0;
        for (std::size_t k = 0; k < size; ++k) {
            turned[k * columns + at] = patch[k];
            square += patch[k] * patch[k];
        }
        halves[at] = 0.5f * square;
    }
    for (std::size_t row = 0; row < tiles.size(); ++row)
        std::copy_n(choice.wanted + tiles[row] * size, size, &rows[row * size]);
    std::vector<float> products(tiles.size() * columns);
    map_kernels().products(rows.data(), tiles.size(), turned.data(), size, columns, products.data());
    for (std::size_t row = 0; row < tiles.size(); ++row) {
        const float* product = &products[row * columns];
        std::size_t best = 0;
        for (std::size_t at = 1; at < places.size(); ++at)
            if (halves[at] - product[at] < halves[best] - product[best]) best = at;
        found[tiles[row]] = static_cast<std::int32_t>(places[best]);
    }
}

}  // namespace

void surroundings(const Surroundings& work) {
    const auto edge = static_cast<std::ptrdiff_t>(work.edge);
    const auto inside = [](std::ptrdiff_t at, std::size_t length) {
        return static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(at, 0, static_cast<std::ptrdiff_t>(length) - 1));
    };
    for (std::size_t row = 0; row < work.down; ++row) {
        for (std::size_t column = 0; column < work.across; ++column) {
            float* to = work.found + (row * work.across + column) * work.pitch;
            for (std::ptrdiff_t v = -edge; v <= edge; ++v) {
                const float* line = work.cells + inside(work.rows[row] + v, work.height) * work.width * 3;
                for (std::ptrdiff_t u = -edge; u <= edge; ++u, to += 3) {
                    const float* cell = line + inside(work.columns[column] + u, work.width) * 3;
                    for (std::size_t c = 0; c < 3; ++c) to[c] = cell[c] * work.factor;
                }
            }
        }
    }
}

void nearest(const Choice& choice, std::int32_t* found) {
    parallel_for(choice.kinds, 1, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t kind = first; kind < last; ++kind)
            nearest_of_kind(choice, static_cast<std::int32_t>(kind), found);
    });
}

namespace {

// What tiles give to rows [first, last).
void quilt_rows(const float* source, std::size_t width, const Tiles& tiles, const Laid& laid, std::size_t first,
                std::size_t last) {
    const std::size_t hop = tiles.hop, fade = tiles.fade, side = hop + fade, margin = fade / 2;
    const std::size_t across = laid.width;
    std::fill_n(laid.pixels + first * across * 3, (last - first) * across * 3, 0.0f);
    for (std::size_t row = 0; row < tiles.rows; ++row) {
        // Of the tile's rows, those that lie on these.
        const std::size_t start = row * hop;
        const std::size_t v0 = first + margin > start ? first + margin - start : 0;
        if (v0 >= side || start >= last + margin) continue;
        const std::size_t v1 = std::min(side, last + margin - start);
        const auto down = weights(hop, fade, row == 0, row + 1 == tiles.rows);
        for (std::size_t column = 0; column < tiles.columns; ++column) {
            const auto along = of_colours(weights(hop, fade, column == 0, column + 1 == tiles.columns));
            const auto top = static_cast<std::size_t>(tiles.tops[row * tiles.columns + column]);
            const auto left = static_cast<std::size_t>(tiles.lefts[row * tiles.columns + column]);
            const std::size_t u0 = column == 0 ? margin : 0, u1 = std::min(side, across + margin - column * hop);
            for (std::size_t v = v0; v < v1; ++v) {
                const float* from = source + ((top + v) * width + left) * 3;
                float* to = laid.pixels + ((start + v - margin) * across + column * hop - margin) * 3;
                const float weight = down[v];
                for (std::size_t i = 3 * u0; i < 3 * u1; ++i) to[i] += weight * along[i] * from[i];
            }
        }
    }
}

}  // namespace

void quilt(const float* source, std::size_t width, const Tiles& tiles, const Laid& laid) {
    parallel_for(laid.height, 32, 1, [&](std::size_t first, std::size_t last) {
        quilt_rows(source, width, tiles, laid, first, last);
    });
}

}  // namespace fairlead::pictures

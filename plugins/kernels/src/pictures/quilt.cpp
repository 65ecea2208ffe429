#include "fairlead/pictures/quilt.hpp"

#include <algorithm>
#include <vector>

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

}  // namespace

void quilt(const float* source, std::size_t width, const Tiles& tiles, const Laid& laid) {
    const std::size_t hop = tiles.hop, fade = tiles.fade, side = hop + fade, margin = fade / 2;
    const std::size_t across = laid.width;
    std::fill_n(laid.pixels, laid.height * across * 3, 0.0f);
    for (std::size_t row = 0; row < tiles.rows; ++row) {
        const auto down = weights(hop, fade, row == 0, row + 1 == tiles.rows);
        for (std::size_t column = 0; column < tiles.columns; ++column) {
            const auto along = of_colours(weights(hop, fade, column == 0, column + 1 == tiles.columns));
            const auto top = static_cast<std::size_t>(tiles.tops[row * tiles.columns + column]);
            const auto left = static_cast<std::size_t>(tiles.lefts[row * tiles.columns + column]);
            // Of the tile, what lies on the picture.
            const std::size_t u0 = column == 0 ? margin : 0, u1 = std::min(side, across + margin - column * hop);
            const std::size_t v0 = row == 0 ? margin : 0, v1 = std::min(side, laid.height + margin - row * hop);
            for (std::size_t v = v0; v < v1; ++v) {
                const float* from = source + ((top + v) * width + left) * 3;
                float* to = laid.pixels + ((row * hop + v - margin) * across + column * hop - margin) * 3;
                const float weight = down[v];
                for (std::size_t i = 3 * u0; i < 3 * u1; ++i) to[i] += weight * along[i] * from[i];
            }
        }
    }
}

}  // namespace fairlead::pictures

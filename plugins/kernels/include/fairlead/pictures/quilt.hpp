#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::pictures {

// Where each tile's first pixel lies in the source.
struct Tiles {
    const std::int32_t* tops;   // [rows, columns]
    const std::int32_t* lefts;  // [rows, columns]
    std::size_t rows, columns;
    std::size_t hop;   // pixels between two tiles
    std::size_t fade;  // pixels in which a tile fades into its neighbour, even; a tile's side is hop + fade
};

// Lays tiles of source [height, width, 3] side by side: fills laid [rows * hop, columns * hop, 3].
void quilt(const float* source, std::size_t width, const Tiles& tiles, float* laid);

}  // namespace fairlead::pictures

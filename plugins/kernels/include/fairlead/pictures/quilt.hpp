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

// What tiles are laid on: [height, width, 3], at most rows * hop high and columns * hop wide, and part of every tile.
struct Laid {
    float* pixels;
    std::size_t height, width;
};

// Cells [height, width, 3], and places among them, whose surroundings go to the first numbers of each of `found`
// [rows, columns, pitch]: the cells up to `edge` away, times a factor; what lies beyond is the outermost cell.
struct Surroundings {
    const float* cells;
    std::size_t height, width;
    const std::int32_t* rows;
    const std::int32_t* columns;
    std::size_t down, across, edge;
    float factor;
    float* found;
    std::size_t pitch;
};

void surroundings(const Surroundings& work);

// What is wanted [count, size] and what there is [places, size], each of a kind below `kinds`.
struct Choice {
    const float* wanted;
    const float* patches;
    const std::int32_t* wanted_kinds;  // [count]
    const std::int32_t* patch_kinds;   // [places], every kind at least once
    std::size_t count, places, size, kinds;
};

// Of each that is wanted, the nearest patch of its kind, the first where several are.
void nearest(const Choice& choice, std::int32_t* found);

// Lays tiles of source [height, width, 3] side by side.
void quilt(const float* source, std::size_t width, const Tiles& tiles, const Laid& laid);

}  // namespace fairlead::pictures

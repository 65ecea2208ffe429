#pragma once

#include <cstddef>

namespace fairlead::pictures {

// Where the result goes: rows and columns of the picture from `margin` on. Never the picture itself.
struct Inside {
    float* target;  // [height, width, 3]
    std::size_t height, width, margin;
};

// Takes away what repeats every second pixel of `picture` and not of `like`, both [height, width, 3] with even sides.
// Stripes: of the difference's 2 x 2 phases, the means over cells of `cell` places a side less those of all phases and
// the checkerboard's, linear between cells' centres. Checkerboards: the difference's fourth differences along both axes,
// by 256. Clipped to [0, 1].
void remove_lattice(const float* picture, const float* like, std::size_t height, std::size_t width, std::size_t cell,
                    const Inside& inside);

}  // namespace fairlead::pictures

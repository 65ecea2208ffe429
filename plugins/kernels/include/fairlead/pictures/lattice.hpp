#pragma once

#include <cstddef>

namespace fairlead::pictures {

// Where the result goes: rows and columns of the picture from `margin` on. Without a margin it may be the picture.
struct Inside {
    float* target;  // [height, width, 3]
    std::size_t height, width, margin;
};

// Takes away what repeats every second pixel of `picture` and not of `like`, both [height, width, 3] with even sides:
// of the difference's 2 x 2 phases, the means over cells of `cell` places a side less those of all phases, linear
// between cells' centres. Clipped to [0, 1].
void remove_lattice(const float* picture, const float* like, std::size_t height, std::size_t width, std::size_t cell,
                    const Inside& inside);

}  // namespace fairlead::pictures

#pragma once

#include <cstddef>

namespace fairlead::pictures {

// Takes away what repeats every second pixel of `picture` and not of `like`, both [height, width, 3] with even sides:
// of the difference's 2 x 2 phases, the means over cells of `cell` places a side less those of all phases, linear
// between cells' centres. In place; clipped to [0, 1].
void remove_lattice(float* picture, const float* like, std::size_t height, std::size_t width, std::size_t cell);

}  // namespace fairlead::pictures

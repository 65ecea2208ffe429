#pragma once

#include <cstddef>

namespace fairlead::pictures {

// Matrices' sides are made multiples of this.
inline constexpr std::size_t kSide = 8;

// What is added to a covariance's diagonal: a share of the mean variance, and a little.
struct Ridge {
    double share, little;
};

// The symmetric map from one covariance to another that moves the least, [size, size] each, ridges added to both:
// L (L' C L)^(-1/2) L' by a triangular root L of what is wanted.
void least_map(const float* covariance, const float* wanted, std::size_t size, const Ridge& ridge, double* map);

}  // namespace fairlead::pictures

#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::vectors {

// A rotation of centred vectors whose leading coordinates hold as much energy as possible: y = P (x - mean) for the
// `lead` orthonormal rows of P, and then what P leaves of the vector, r = (x - mean) - P^T y, mixed by rounds of signs,
// permutations and Hadamard butterflies: dim coordinates in which no direction is special. Inner products are kept:
// <x - mean, q - mean> = <y_x, y_q> + <H r_x, H r_q>. With lead 0 all coordinates are mixed ones. The arrays are the
// caller's and outlive it.
struct RotationView {
    std::uint32_t dim = 0;
    std::uint32_t lead = 0;
    std::uint32_t rounds = 0;
    const float* matrix = nullptr;          // P, float32 [lead, dim]
    const float* mean = nullptr;            // [dim]
    const std::uint32_t* order = nullptr;   // [rounds, dim]: coordinate i comes from order[i]
    const float* signs = nullptr;           // [rounds, dim]: 1 or -1

    std::size_t out_dim() const { return std::size_t{lead} + dim; }
    // x float32 [dim] -> out [lead + dim].
    void apply(const float* x, float* out) const;
    // The leading coordinates alone, out [lead].
    void apply_lead(const float* x, float* out) const;
};

}  // namespace fairlead::vectors

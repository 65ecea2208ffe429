#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::vectors {

// What the codes of a segment say of it: <o, q> is estimated by factor * <codes - (2^bits - 1) / 2, q>.
struct SegmentFit {
    float factor = 0;
    float spread = 0;  // standard deviation of the estimate for a q of length 1 in a random direction
};

// Codes 0..2^bits - 1 of the d numbers o that point as nearly as possible in their direction (extended RaBitQ).
void segment_codes(const float* o, std::size_t d, std::uint32_t bits, std::uint8_t* codes);
// How codes whose lower `shift` bits are left out fit o: with the factor |o|^2 / <codes, o> the estimate is unbiased over
// random rotations (Gao and Long 2024, theorem 3.2); its spread is |o| sqrt((1 - cos^2) / cos^2 / (d - 1)).
SegmentFit segment_fit(const float* o, std::size_t d, std::uint32_t bits, std::uint32_t shift, const std::uint8_t* codes);
// <codes >> shift, centred, y>.
float segment_product(const std::uint8_t* codes, std::size_t d, std::uint32_t bits, std::uint32_t shift, const float* y);

}  // namespace fairlead::vectors

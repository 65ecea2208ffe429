#pragma once

#include "fairlead/views.hpp"

namespace fairlead {

// Groups that stand side by side in a superblock.
inline constexpr std::size_t kLanes = 16;
// Columns of half a superblock, the unit by which sums over rows are split.
inline constexpr std::size_t kUnitFloats = kLanes * kGroup / 2;

// A borrowed matrix of 4 or 8 bit weights in groups of kGroup columns with one float16 scale each.
//
// A row holds all values, then all scales. Its groups stand in superblocks of kLanes lanes; the last superblock
// has its groups rounded up to a multiple of 4, and a lane without a group is zero like its scale. Vector v (0..7)
// of a superblock of L lanes has in lane g the four weights 4v..4v+3 of group g. A weight is stored unsigned and
// stands for (u - 2^(bits - 1)) * scale. 8 bits: vector v is 4L bytes. 4 bits: chunk c (0..3) is 4L bytes whose
// lower halves are vector 2c and whose upper halves are vector 2c + 1. Rows are `stride` bytes apart, so that
// the rows of several matrices may be interleaved (bundles). Nothing is assumed of the alignment.
struct PackedView {
    const std::uint8_t* data = nullptr;
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::size_t stride = 0;
    int bits = 4;

    FAIRLEAD_INLINE std::size_t groups() const { return columns / kGroup; }
    // Lanes of a row: groups rounded up to a multiple of 4.
    FAIRLEAD_INLINE std::size_t lanes() const { return (groups() + 3) / 4 * 4; }
    // Half superblocks: what sums over rows are split by.
    FAIRLEAD_INLINE std::size_t units() const { return (lanes() + kLanes - 1) / kLanes * 2; }
    FAIRLEAD_INLINE std::size_t lane_bytes() const { return kGroup * static_cast<std::size_t>(bits) / 8; }
    FAIRLEAD_INLINE std::size_t quant_bytes() const { return lanes() * lane_bytes(); }
    FAIRLEAD_INLINE std::size_t row_bytes() const { return (quant_bytes() + 2 * lanes() + 15) / 16 * 16; }
    FAIRLEAD_INLINE const std::uint8_t* row(std::size_t index) const { return data + index * stride; }
    // The float16 scales of a row, two bytes a lane.
    FAIRLEAD_INLINE const std::uint8_t* row_scale(std::size_t index) const { return row(index) + quant_bytes(); }
};

}  // namespace fairlead

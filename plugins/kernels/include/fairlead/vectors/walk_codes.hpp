#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fairlead/vectors/aligned.hpp"
#include "fairlead/vectors/packed_rows.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::vectors {

// Rotates vectors and rounds the leading coordinates, in which most of their length lies, to 8 or 4 bits of one step for
// all (LVQ and LeanVec, Aguerrebere et al. 2023 and Tepper et al. 2024, with one scale in place of one a vector, so that a
// score is an integer). A code fills whole cache lines: its coordinates, then the half squared norm of the *whole* vector
// as int32. Half norm - <x, q> orders vectors by their distance, where the dot product of what the code leaves out is
// taken as zero. The metric's vectors come in as ones for which that is right: normalised for cosine; for inner products
// with a further coordinate that makes all equally long (Bachrach et al. 2014).
//
// 8 bits: a byte a coordinate, 128 more than it is; a query has as many int8. 4 bits: byte d holds coordinate d in its low
// and d + packed() in its high half, each 8 more than it is, -7 to 7; coordinates beyond are clipped, of which rows know by
// how much: what refines a 7 or -7 counts kEdge times as much, outwards. A query has 8 bits all the same, steps a
// sixteenth as large: for each line its factors of the 64 low halves, then those of the high ones.
struct WalkEncoder {
    Space space;
    std::size_t lines = 1;
    std::uint32_t bits = 8;       // of a code's coordinate
    std::vector<float> rotation;  // [leading + trailing, columns]
    std::vector<float> center;    // [columns]: what is subtracted before the rotation
    std::vector<float> offset;    // [leading + trailing]: the center, rotated
    std::size_t trailing = 0;     // further rows of the rotation
    std::uint32_t extra = 0;      // bits of a row that refine each leading coordinate
    std::uint32_t tail_bits = 8;  // bits of a row for each trailing one
    float step = 1.0F;
    float tail_step = 1.0F;
    float longest = 0.0F;  // dot only: the squared norm that all are made to have

    // Bytes of a code that hold coordinates.
    std::size_t packed() const { return lines * kLine - sizeof(std::int32_t); }
    std::size_t leading() const { return packed() * 8 / bits; }
    std::size_t code_bytes() const { return lines * kLine; }
    std::size_t query_bytes() const { return code_bytes() * 8 / bits; }
    // Half the squared distance by which two scores differ that differ by 1.
    float score_unit() const { return step * step / (bits == 4 ? 16.0F : 1.0F); }
    // Coordinates that are rotated.
    std::size_t columns() const { return space.dim + (augmented() ? 1 : 0); }
    bool augmented() const { return space.metric == Metric::dot && space.element != Element::bit; }

    std::size_t row_bytes() const { return packed_bytes(leading(), extra) + packed_bytes(trailing, tail_bits); }
    // A query as rows are multiplied with it: its coordinates, then its squared distance from the center.
    std::size_t query_floats() const { return leading() + trailing + 1; }

    // Codes of vectors [count] of the space; rows [count, row_bytes] and more [count], the further coordinate, may be null.
    void encode(const std::byte* vectors, std::size_t count, std::uint8_t* codes, std::uint8_t* rows, float* more) const;
    // Queries as walks take them, negated, [count, query_bytes]; whole [count, query_floats] may be null.
    void encode_queries(const std::byte* vectors, std::size_t count, std::int8_t* walked, float* whole) const;
    // A code as a query.
    void query_of_code(const std::uint8_t* code, std::int8_t* query) const;

private:
    // Writes coordinate d, in steps, into a code.
    void put(std::uint8_t* code, std::size_t d, std::int32_t value) const;
    // Where a query has the factor of coordinate d.
    std::size_t factor(std::size_t d) const;
    // f(i, the vector before the rotation, and after it: [leading + trailing], or [leading] where `whole` is false)
    template <class F>
    void turn(const std::byte* vectors, std::size_t count, bool queries, bool whole, const F& f) const;
};

}  // namespace fairlead::vectors

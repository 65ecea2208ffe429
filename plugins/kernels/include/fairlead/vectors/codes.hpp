#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fairlead/vectors/aligned.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::vectors {

// Codes of the leading dimensions of rotated vectors, 8 bits a dimension, one step for all: code = round(y / step) + 128
// with y = matrix (x - mean). A row is a float32 (its share of the distance that no query changes) and then the codes;
// rows are `stride` bytes apart, a multiple of 64, begin on cache lines and end in codes of 128 (zero). A walk may use
// fewer dimensions than a row has: 60 dimensions are one line of a row, 124 are two.
//
// The estimate is of the metric's distance with everything beyond the codes' dimensions taken for orthogonal:
//   l2      |x|^2 + |q|^2 - 2 <x, q>, cosine half of that (vectors are normalised here), both centred on the mean;
//   dot     -<x, q>.
struct LeadingView {
    const std::uint8_t* rows = nullptr;
    std::size_t stride = 0;
    std::uint32_t dims = 0;
};

inline constexpr std::size_t leading_stride(std::uint32_t dims) { return whole_lines(sizeof(float) + dims); }

// The query as the kernel reads it.
struct LeadingQueryView {
    const std::int8_t* coarse;           // [lines * 64], the row's layout: four zeros, then the query's codes
    const std::int8_t* fine;             // the same for what the coarse codes leave, 1 / 128 of their step
    const std::int32_t* correction;      // [16]: -128 times the sum of each lane's codes, over all lines
    const std::int32_t* fine_correction;
    std::uint32_t lines;                 // of a row that are read
    float add;
    float scale;                         // estimate = add + row's float - scale * <codes, query>
};

class LeadingQuery {
public:
    LeadingQueryView view() const;

private:
    friend class LeadingModel;
    AlignedBytes coarse_, fine_;
    alignas(64) std::int32_t correction_[16] = {};
    alignas(64) std::int32_t fine_correction_[16] = {};
    std::uint32_t lines_ = 0;
    float add_ = 0, scale_ = 0;
};

// The trained numbers that make codes and queries; the arrays are the caller's and outlive it.
class LeadingModel {
public:
    // matrix: float32 [dims, space.dim], orthonormal rows; mean: float32 [space.dim]; step > 0.
    // Throws std::invalid_argument for a space of bits.
    LeadingModel(const Space& space, std::uint32_t dims, const float* matrix, const float* mean, float step);

    std::uint32_t dims() const { return dims_; }
    const Space& space() const { return space_; }
    // Writes the row (leading_stride(dims) bytes) of a vector of the space's elements.
    void encode(const void* vector, std::uint8_t* row) const;
    // Prepares a query for the first `lead` dimensions (as many as fill the lines that they touch; all: dims).
    void prepare(const void* vector, std::uint32_t lead, LeadingQuery& query) const;
    // From floats that need not be of the space's elements.
    void prepare_floats(const float* vector, std::uint32_t lead, LeadingQuery& query) const;

private:
    float centred(const float* vector, float* out) const;

    Space space_;
    std::uint32_t dims_;
    const float* matrix_;
    const float* mean_;
    float step_;
    float mean_norm2_ = 0;
};

// out[i] = the estimate for row ids[i]; rows ahead are prefetched. Queries are rounded to 8 bits.
void leading_distances(const LeadingQuery& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                       float* out);
// The same with queries rounded to 15 bits: for a re-rank by codes of all dimensions.
void fine_distances(const LeadingQuery& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                    float* out);

}  // namespace fairlead::vectors

#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/vectors/aligned.hpp"

namespace fairlead::vectors {

enum class Element : std::uint8_t { float32, float16, bfloat16, int8, uint8, bit };
enum class Metric : std::uint8_t { l2, dot, cosine };

// Whole squared distances of bytes fit 32 bits up to here.
inline constexpr std::uint32_t kMostDim = 32768;

// What vectors are made of and how they are compared. Distances are smaller-is-nearer everywhere: l2 is the squared
// distance, dot its negative, cosine 1 - cos (0 vectors are at 1 from everything); bits are compared by their Hamming
// distance, whatever the metric. Bit i of a vector is bit i % 8 of byte i / 8; bits beyond dim are zero.
struct Space {
    Element element = Element::float32;
    Metric metric = Metric::l2;
    std::uint32_t dim = 0;

    // Of a stored vector.
    std::size_t bytes() const;
    // Throws std::invalid_argument: dim is not in 1..kMostDim.
    void check() const;
};

// A query as kernels read it: float32 for floating-point elements, 16 bit integers for bytes, bits as they are.
struct SpaceQueryView {
    const void* data;
    std::uint32_t dim;
    Element element;
    Metric metric;
    float inverse_norm;  // cosine only; 0 for a zero query
};

// Holds a prepared query; one object serves many queries, one after the other.
class SpaceQuery {
public:
    explicit SpaceQuery(const Space& space);

    // A vector of the space's elements.
    void set(const void* vector);
    // Floats, for spaces of floating-point elements.
    void set_floats(const float* vector);
    const Space& space() const { return space_; }
    SpaceQueryView view() const;

private:
    Space space_;
    AlignedBytes data_;
    float inverse_norm_ = 0;
};

// One vector of a space as float32 [dim]; bits become 0 and 1.
void to_floats(const Space& space, const void* vector, float* out);

// out[i] = distance of the query to the vector at base + ids[i] * stride; vectors ahead are prefetched.
void distances(const SpaceQuery& query, const void* base, std::size_t stride, const std::uint32_t* ids, std::size_t n,
               float* out);
// The same for the n vectors at rows, rows + stride, ...
void distances_rows(const SpaceQuery& query, const void* rows, std::size_t stride, std::size_t n, float* out);

}  // namespace fairlead::vectors

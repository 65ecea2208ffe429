#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fairlead/vectors/list_kernels.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::vectors {

// What training leaves: plain arrays, so that they can be kept in files.
struct ListTraining {
    Space space;
    std::uint32_t bytes_dims = 0;    // leading dimensions of 8 bits, a multiple of 4
    std::uint32_t nibble_dims = 0;   // those after them of 4 bits, a multiple of 8
    bool tail = true;                // whether the other dimensions have a bit each
    std::vector<float> mean;         // [dim]
    std::vector<float> reflectors;   // [lead, dim]: V of the transform y = x - V^T T V x, orthogonal (compact WY)
    std::vector<float> triangle;     // [lead, lead]: T
    std::vector<float> steps;        // [lead]: of a code
    std::vector<float> signs;        // [4, dim - lead]

    std::uint32_t lead() const { return bytes_dims + nibble_dims; }
    std::uint32_t tail_dims() const { return space.dim - lead(); }
};

// A vector after the transform: its leading dimensions are the principal ones, the others are mixed with one another.
struct Turned {
    std::vector<float> lead;  // [count, lead]
    std::vector<float> tail;  // [count, tail_dims]; unmixed where the tail has no bits
    std::vector<float> tail_norm2;  // [count]
    std::vector<float> whole, first, second, change;  // scratch, kept from one batch to the next
};

// A prepared query's part that no list changes.
struct ListQuery {
    std::vector<std::int8_t> tail;  // [tail bits, padded to 64]
    float tail_scale = 0;
    std::int32_t tail_sum = 0;
    float tail_norm2 = 0;
    float lead_norm2 = 0;
    float mean_product = 0;  // dot only: <query, mean>
    std::vector<float> lead;
};

// Codes of a list's vectors. Leading principal dimensions are rounded relative to the list's centroid, with as many
// steps as their variance earns; what remains is turned at random and keeps its signs, its length and the unbiased
// scale of RaBitQ (Gao and Long, SIGMOD 2024). More bits where variance is: SAQ (Li et al., 2025), LeanVec.
//
// Estimates are of the metric's distance. Its standard error from the tail is `spread(query)` times the entry's scale.
class ListCoder {
public:
    // Throws std::invalid_argument: an array has the wrong size, or a number is not finite.
    explicit ListCoder(ListTraining training);

    const ListTraining& training() const { return training_; }
    const Space& space() const { return training_.space; }
    std::uint32_t row() const { return training_.bytes_dims + training_.nibble_dims / 2; }
    std::uint32_t lead() const { return training_.lead(); }
    std::size_t tail_bytes() const { return training_.tail ? (training_.tail_dims() + 7) / 8 : 0; }

    // Turns vectors of the space's elements; `centre` takes the mean off them first.
    void turn(const std::byte* vectors, std::size_t count, bool centre, Turned& out) const;
    // Queries, which are centred but for the dot product.
    void prepare(const std::byte* queries, std::size_t count, Turned& scratch, std::vector<ListQuery>& out) const;

    // Codes [row] and the float of vector i, relative to a centroid [lead].
    float encode_lead(const Turned& turned, std::size_t i, const float* centroid, std::uint8_t* codes) const;
    // Bits [tail_bytes]; returns the scale.
    float encode_tail(const Turned& turned, std::size_t i, std::uint8_t* bits) const;

    // What a scan of a list needs; low and high [row] are written. `product` is <query's lead, centroid>.
    ListScan aim(const ListQuery& query, const float* centroid, float centroid_norm2, float product, std::int8_t* low,
                 std::int8_t* high) const;
    // What the tail's bits take off an estimate.
    float tail_share(const ListQuery& query, const std::uint8_t* bits, float scale) const;
    float spread(const ListQuery& query) const;

private:
    float code_of(float value, std::uint32_t dim) const;
    float product_weight() const { return training_.space.metric == Metric::l2 || bits() ? 2.0F : 1.0F; }
    bool bits() const { return training_.space.element == Element::bit; }
    bool dots() const { return training_.space.metric == Metric::dot && !bits(); }
    bool cosine() const { return training_.space.metric == Metric::cosine && !bits(); }

    ListTraining training_;
    float rounding_ = 0;  // standard error of a leading dimension's code
};

}  // namespace fairlead::vectors

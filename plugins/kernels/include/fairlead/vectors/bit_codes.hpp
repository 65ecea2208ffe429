#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"
#include "fairlead/vectors/aligned.hpp"
#include "fairlead/vectors/rotation.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::vectors {

// Vectors of a block of a list; a list's last block may hold fewer.
inline constexpr std::size_t kBlock = 16;

// RaBitQ codes (Gao and Long, SIGMOD 2024 and 2025) of a rotated vector's difference to its list's centroid, in two
// segments: the leading coordinates, and the rest. What decides about most vectors lies in blocks of 16 that a scan
// reads front to back: the upper `scan_bits` of the leading coordinates' codes and three numbers a vector. What only the
// few that pass need lies in a row of its own: the lower bits, and the rest's codes.
//
// A plain b bit RaBitQ code is a rotation with lead 0 and all dim coordinates as the leading segment: {dim, 1, b, 0, 0}.
struct BitPlan {
    std::uint32_t lead = 0;       // coordinates of the leading segment
    std::uint32_t scan_bits = 1;  // 1, 2 or 4: of each, in the blocks
    std::uint32_t lead_bits = 1;  // scan_bits..8: of each, in all
    std::uint32_t rest = 0;       // coordinates behind them
    std::uint32_t rest_bits = 0;  // 0..8: of each; 0: they count by their length alone

    // Forced inline: kernels of every ISA call them.
    FAIRLEAD_INLINE std::uint32_t dim() const { return lead + rest; }
    FAIRLEAD_INLINE std::size_t words() const { return (std::size_t{lead} * scan_bits + 31) / 32; }
    // Codes, then float32 base[16], float16 factor[16] and spread[16]; blocks begin on cache lines.
    FAIRLEAD_INLINE std::size_t block_bytes() const { return kLine * (words() + 2); }
    // 0 where blocks hold everything: then nothing is to be refined.
    std::size_t row_bytes() const;
    // Throws std::invalid_argument.
    void check() const;
};

// What an estimate needs of a list.
struct BitList {
    float add = 0;    // |q - c|^2 for l2, half of it for cosine, -<q, mean + c> with dot
    float slack = 0;  // lower bound = estimate - slack * the vector's spread
};

struct BitCandidate {
    std::uint32_t position;  // within the list
    std::int32_t dot;        // of the scanned codes with the query: refining goes on from it
    float estimate;
    float lower;
};

struct BitQueryView {
    const std::int8_t* scan;  // [words * 32 / scan_bits]: the leading coordinates in the order of a word's fields
    const std::int8_t* lead;  // [dims in whole 64s]: in order, for the rows
    const std::int8_t* rest;
    float scan_scale, scan_offset;  // <centred codes, query> = scale * dot + offset
    float lead_scale, lead_offset;
    float rest_scale, rest_offset;
};

class BitModel;

// A prepared query; serves many lists and, after another prepare, other queries.
class BitQuery {
public:
    BitQueryView view() const;
    const float* rotated() const { return rotated_.as<float>(); }
    // What a list needs; centroid: rotated, float32 [dim + 1] as BitModel::rotate made it. confidence_scale: how many
    // standard deviations the lower bound lies below the estimate.
    BitList list(const float* centroid, float confidence_scale) const;

private:
    friend class BitModel;
    const BitModel* model_ = nullptr;
    AlignedBytes rotated_, scan_, lead_, rest_;
    float scan_scale_ = 0, scan_offset_ = 0, lead_scale_ = 0, lead_offset_ = 0, rest_scale_ = 0, rest_offset_ = 0;
};

// Makes codes and queries. Rotated vectors and centroids are float32 [dim + 1]: the coordinates, then the product with
// the mean (which dot needs).
class BitModel {
public:
    // balance: the typical length of a query's rest over that of its leading part (1 where there is no rest);
    // unseen: standard deviation of what coordinates without codes add to an inner product, over the product of the
    // lengths (where rest_bits > 0 it matters to the scan only); unit: a typical vector's distance from the mean, by
    // which numbers fit float16. Throws std::invalid_argument.
    BitModel(const Space& space, const BitPlan& plan, const RotationView& rotation, float balance, float unseen,
             float unit);

    const Space& space() const { return space_; }
    const BitPlan& plan() const { return plan_; }
    const RotationView& rotation() const { return rotation_; }
    float balance() const { return balance_; }
    float unit() const { return unit_; }
    // A vector of the space's elements.
    void rotate(const void* vector, float* rotated) const;
    void rotate_floats(const float* vector, float* rotated) const;
    // Puts a vector's codes at a position of a list: into block position / 16 of `blocks`, and its row (null where
    // row_bytes() is 0). Other vectors of the block stay as they are.
    void encode(const float* rotated, const float* centroid, std::byte* blocks, std::size_t position,
                std::byte* row) const;
    void prepare(const void* vector, BitQuery& query) const;
    void prepare_floats(const float* vector, BitQuery& query) const;
    // Of a vector that is rotated already.
    void prepare_rotated(const float* rotated, BitQuery& query) const;

private:
    Space space_;
    BitPlan plan_;
    RotationView rotation_;
    float balance_;
    float unseen_;
    float unit_;
};

// Estimates for a list's n vectors, in order; those whose lower bound is below `limit` are written to out (room for n
// in whole blocks), and their number is returned. With an infinite limit all are.
std::size_t scan_list(const BitModel& model, const BitQuery& query, const BitList& list, const std::byte* blocks,
                      std::size_t n, float limit, BitCandidate* out);
// Takes the rows (row_bytes() each, row i of the list's position i) and the blocks' numbers into candidates'
// estimates and bounds. Rows ahead are prefetched.
void refine(const BitModel& model, const BitQuery& query, const BitList& list, const std::byte* blocks,
            const std::byte* rows, BitCandidate* candidates, std::size_t n);

}  // namespace fairlead::vectors

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace fairlead::vectors {

// A row of float32 without loss in less space: mantissas and signs as they are, of each exponent only how far it lies
// below the row's largest, in 5 bits (31: the field is 0, so zeros and denormals; 30: it lies further below). In order:
// the lower 16 bits of the mantissas [dim, 2], sign and upper 7 bits [dim], lower 4 bits of the codes two a byte (the
// even one low), their upper bits eight a byte, the largest exponent field, and the fields of those further below, in
// order, to the end of the row. Bytes of 0 are a row of zeros. Models leave some dimensions at 1e-33: there are a few
// such fields in every row.
class PackedFloats {
public:
    explicit PackedFloats(std::size_t dim) : dim_(dim) {}

    static constexpr std::uint8_t kSpilled = 255;  // in place of the largest exponent: the row does not lie here
    static constexpr std::uint32_t kWidest = 29, kFar = 30, kZero = 31;

    std::size_t dim() const { return dim_; }
    std::size_t row_bytes() const { return 4 * dim_; }
    std::size_t stride() const { return (far_at() + 2 + dim_ / 128 + 15) / 16 * 16; }
    // Where packing takes less than the row.
    bool saves() const { return dim_ > 0 && stride() < row_bytes(); }

    // Packs a row [4 dim] into [stride]; false: too many exponents lie far below the largest, or
    // it is that of infinity or NaN.
    bool pack(const std::byte* row, std::uint8_t* out) const;
    // Unpacks a row that is not spilled; the two must not overlap.
    void unpack(const std::uint8_t* packed, std::byte* row) const;
    bool spilled(const std::uint8_t* packed) const { return packed[top_at()] == kSpilled; }

private:
    std::size_t nibbles_at() const { return 3 * dim_; }
    std::size_t bits_at() const { return nibbles_at() + (dim_ + 1) / 2; }
    std::size_t top_at() const { return bits_at() + (dim_ + 7) / 8; }
    std::size_t far_at() const { return top_at() + 1; }

    std::size_t dim_;
};

// Rows of a region that cannot be packed, in memory; all tier objects of the region share them.
class SpilledRows {
public:
    std::size_t size() const { return count_.load(std::memory_order_acquire); }
    void keep(std::uint64_t row, const std::byte* bytes, std::size_t count);
    void forget(std::uint64_t row);
    // Zeros where it is not there: of a place where no row was written.
    void copy(std::uint64_t row, std::byte* into, std::size_t count) const;

private:
    mutable std::shared_mutex mutex_;
    std::atomic<std::size_t> count_ = 0;
    std::unordered_map<std::uint64_t, std::vector<std::byte>> rows_;
};

// Packs rows [count, 4 dim], the first of them row `first` of its region, into [count, stride]; those that cannot be
// packed are kept in `spilled`.
void pack_rows(const PackedFloats& packing, SpilledRows& spilled, std::uint64_t first, const std::byte* rows,
               std::size_t count, std::uint8_t* out);

}  // namespace fairlead::vectors

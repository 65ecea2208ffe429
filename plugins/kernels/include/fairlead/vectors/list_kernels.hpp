#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::vectors {

// Entries of a block of a list; they lie side by side, so that one register holds the sums of all.
inline constexpr std::size_t kLanes = 16;

// A query against one list, as the scan reads it. A row of codes has `row` bytes, a multiple of 4: one byte a dimension,
// from byte `nibbles` on two dimensions a byte.
struct ListScan {
    const std::int8_t* low;   // [row]: for whole bytes and lower halves
    const std::int8_t* high;  // [row]: for upper halves; zero before `nibbles`
    std::uint32_t row;
    std::uint32_t nibbles;  // a multiple of 4
    float base;             // estimate = base + the entry's float - scale * <codes, query>
    float scale;
};

inline constexpr std::size_t block_bytes(std::uint32_t row) { return kLanes * (row + sizeof(float)); }

// Planes of a packed row of float32 (fairlead/vectors/packed_floats.hpp).
struct PackedRow {
    const std::uint8_t* low;      // [dim, 2]
    const std::uint8_t* high;     // [dim]
    const std::uint8_t* nibbles;  // [dim / 2]
    const std::uint8_t* bits;     // [dim / 8]
    std::uint32_t top;
    const std::uint8_t *far, *end;  // fields of exponents far below the top
};

// One ISA's kernels of cluster indexes.
struct ListKernels {
    // Entries of `count` blocks whose estimate is below the threshold: estimates and positions (block * 16 + lane), in
    // order. A block is its codes [row / 4, 16, 4] and then floats [16]. Returns how many there are.
    std::size_t (*scan)(const ListScan& query, const std::uint8_t* blocks, std::size_t count, float threshold,
                        float* estimates, std::uint32_t* positions);
    // The sum of query[i] over the set bits i of each row of `stride` bytes; the query is padded with zeros to a multiple
    // of 64, and 64 bytes behind the last row can be read.
    std::int32_t (*sum_bits)(const std::int8_t* query, const std::uint8_t* bits, std::size_t stride);
    // An orthogonal transform of x [size] in place, four rounds of signs [4, size] and Hadamard transforms over the
    // largest power of two that fits, alternately at the start and at the end (fast Johnson-Lindenstrauss; Kac's walk).
    void (*randomize)(float* x, std::size_t size, const float* signs);
    // out[b, c] = the sum over r of weights[b, r] * rows[r, c]: rows [count, columns] are read along, each once for a few
    // b. A sum takes its rows in order, whatever the batch.
    void (*combine)(const float* rows, std::size_t count, std::size_t columns, const float* weights, std::size_t batch,
                    float* out);
    // The smallest but k of values [count], none of them NaN, k below count. Both arrays [count] are written over.
    float (*smallest_but)(float* values, std::size_t count, std::size_t k, float* scratch);
    // Rounds x [size] to whole steps of the largest magnitude / 127, which is returned; total is the sum of all of them.
    float (*round_to_bytes)(const float* x, std::size_t size, std::int8_t* out, std::int32_t& total);
    // Bits of the float32 [dim] that a row was packed from.
    void (*unpack)(PackedRow row, std::size_t dim, std::byte* out);
};

const ListKernels& plain_lists();
#if defined(__x86_64__)
const ListKernels& avx2_lists();
const ListKernels& avx512_lists();
const ListKernels& avx512vnni_lists();
#endif
#if defined(__aarch64__)
const ListKernels& neon_lists();
#endif

// The kernels of the ISA that computes now (fairlead/dispatch.hpp).
const ListKernels& list_kernels();

}  // namespace fairlead::vectors

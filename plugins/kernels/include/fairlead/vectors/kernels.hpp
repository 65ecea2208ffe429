#pragma once

#include "fairlead/vectors/bit_codes.hpp"
#include "fairlead/vectors/codes.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::vectors {

// One ISA's kernels for vectors, as KernelTable holds those for language models.
struct VectorKernels {
    const char* isa;
    // ids may be null: then row i is i.
    void (*distances)(const SpaceQueryView& query, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
                      std::size_t n, float* out);
    void (*leading)(const LeadingQueryView& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                    float* out);
    void (*fine)(const LeadingQueryView& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                 float* out);
    // out[r] = dot(row r of a float32 matrix [rows, columns], x) for r in [0, rows).
    void (*project)(const float* matrix, std::size_t rows, std::size_t columns, const float* x, float* out);
    // The same for orthonormal rows, whose share is then taken out of x: x[c] -= sum_r out[r] * matrix[r, c].
    void (*project_out)(const float* matrix, std::size_t rows, std::size_t columns, float* x, float* out);
    // The rounds of a rotation, in place; scratch holds dim floats.
    void (*mix)(const RotationView& rotation, float* x, float* scratch);
    std::size_t (*scan)(const BitPlan& plan, const BitQueryView& query, const BitList& list, const std::byte* blocks,
                        std::size_t n, float limit, BitCandidate* out);
    // Dot product of p bit codes (p = 1, 2 or 4; rows of whole 64s) with a query.
    std::int32_t (*plane_dot)(int bits, const std::uint8_t* codes, const std::int8_t* query, std::size_t chunks);
};

const VectorKernels& plain_vectors();
#if defined(__x86_64__)
const VectorKernels& avx2_vectors();
const VectorKernels& avx512_vectors();
const VectorKernels& avx512vnni_vectors();
// Hamming distances by VPOPCNTDQ, which is asked for apart: the first processors with VNNI lack it.
void hamming_popcount(const SpaceQueryView& query, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
                      std::size_t n, float* out);
#endif
#if defined(__aarch64__)
const VectorKernels& neon_vectors();
const VectorKernels& neon_dotprod_vectors();
#endif

// The kernels of the ISA that computes now (fairlead/dispatch.hpp).
const VectorKernels& vector_kernels();

}  // namespace fairlead::vectors

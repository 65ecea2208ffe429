#include "simd/avx512.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& avx512_vectors() { return kernels::vectors_of<simd::Avx512>; }

}  // namespace fairlead::vectors

#include "simd/avx2.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& avx2_vectors() { return kernels::vectors_of<simd::Avx2>; }

}  // namespace fairlead::vectors

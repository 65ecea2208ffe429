#include "simd/neon.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& neon_vectors() { return kernels::vectors_of<simd::Neon>; }

}  // namespace fairlead::vectors

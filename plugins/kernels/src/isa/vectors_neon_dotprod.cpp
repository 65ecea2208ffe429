#include "simd/neon_dotprod.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& neon_dotprod_vectors() { return kernels::vectors_of<simd::NeonDotprod>; }

}  // namespace fairlead::vectors

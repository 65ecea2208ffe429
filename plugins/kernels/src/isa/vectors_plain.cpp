#include "simd/plain.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& plain_vectors() { return kernels::vectors_of<simd::Plain>; }

}  // namespace fairlead::vectors

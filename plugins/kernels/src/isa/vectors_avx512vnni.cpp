#include "simd/avx512vnni.hpp"

#include "kernels/vector_table.hpp"

namespace fairlead::vectors {

const VectorKernels& avx512vnni_vectors() { return kernels::vectors_of<simd::Avx512Vnni>; }

}  // namespace fairlead::vectors

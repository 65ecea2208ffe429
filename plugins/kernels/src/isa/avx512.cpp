#include "simd/avx512.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& avx512_table() { return kernels::table_of<simd::Avx512>; }

}  // namespace fairlead

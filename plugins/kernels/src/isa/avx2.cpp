#include "simd/avx2.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& avx2_table() { return kernels::table_of<simd::Avx2>; }

}  // namespace fairlead

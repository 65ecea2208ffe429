#include "simd/neon_dotprod.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& neon_dotprod_table() { return kernels::table_of<simd::NeonDotprod>; }

}  // namespace fairlead

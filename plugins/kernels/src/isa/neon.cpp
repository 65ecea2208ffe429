#include "simd/neon.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& neon_table() { return kernels::table_of<simd::Neon>; }

}  // namespace fairlead

#include "simd/plain.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& plain_table() { return kernels::table_of<simd::Plain>; }

}  // namespace fairlead

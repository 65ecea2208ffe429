#include "simd/avx512vnni.hpp"

#include "kernels/table.hpp"

namespace fairlead {

const KernelTable& avx512vnni_table() { return kernels::table_of<simd::Avx512Vnni>; }

}  // namespace fairlead

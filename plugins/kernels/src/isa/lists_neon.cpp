#include "kernels/list_scan.hpp"

namespace fairlead::vectors {

const ListKernels& neon_lists() { return kKernels; }

}  // namespace fairlead::vectors

#include "kernels/list_scan.hpp"

namespace fairlead::vectors {

const ListKernels& avx2_lists() { return kKernels; }

}  // namespace fairlead::vectors

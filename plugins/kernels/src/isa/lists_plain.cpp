#include "kernels/list_scan.hpp"

namespace fairlead::vectors {

const ListKernels& plain_lists() { return kKernels; }

}  // namespace fairlead::vectors

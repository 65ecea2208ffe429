#include "kernels/list_scan.hpp"

namespace fairlead::vectors {

const ListKernels& avx512vnni_lists() { return kKernels; }

}  // namespace fairlead::vectors

#include "kernels/water_levels.hpp"

namespace fairlead::radio {

const LevelKernels& avx2_levels() { return kLevels; }

}  // namespace fairlead::radio

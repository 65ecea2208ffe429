#include "kernels/water_levels.hpp"

namespace fairlead::radio {

const LevelKernels& avx512_levels() { return kLevels; }

}  // namespace fairlead::radio

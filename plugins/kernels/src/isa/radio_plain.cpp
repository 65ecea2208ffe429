#include "kernels/water_levels.hpp"

namespace fairlead::radio {

const LevelKernels& plain_levels() { return kLevels; }

}  // namespace fairlead::radio

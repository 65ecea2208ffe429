#include "kernels/feature_maps.hpp"

namespace fairlead::pictures {

const MapKernels& neon_maps() { return kMaps; }

}  // namespace fairlead::pictures

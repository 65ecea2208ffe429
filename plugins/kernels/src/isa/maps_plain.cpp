#include "kernels/feature_maps.hpp"

namespace fairlead::pictures {

const MapKernels& plain_maps() { return kMaps; }

}  // namespace fairlead::pictures

#include "kernels/feature_maps.hpp"

namespace fairlead::pictures {

const MapKernels& avx2_maps() { return kMaps; }

}  // namespace fairlead::pictures

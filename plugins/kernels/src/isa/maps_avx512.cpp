#include "kernels/feature_maps.hpp"

namespace fairlead::pictures {

const MapKernels& avx512_maps() { return kMaps; }

}  // namespace fairlead::pictures

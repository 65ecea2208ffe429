#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/pictures/least_map.hpp"

namespace fairlead::python {
namespace {

void least_map(Array<const float, 2> covariance, Array<const float, 2> wanted, double share, double little,
               Array<double, 2> map) {
    const std::size_t size = covariance.shape(0);
    const auto fits = [&](const auto& matrix) { return matrix.shape(0) == size && matrix.shape(1) == size; };
    require(size > 0 && fits(covariance) && fits(wanted) && fits(map), "covariance, wanted, map: must be of one size");
    require(share >= 0 && little > 0, "share, little: must be at least 0 and above it");
    const nb::gil_scoped_release released;
    pictures::least_map(covariance.data(), wanted.data(), size, {share, little}, map.data());
}

}  // namespace

void bind_least_map(nb::module_& module) {
    using namespace nb::literals;
    module.def("least_map", &least_map, "covariance"_a, "wanted"_a, "share"_a, "little"_a, "map"_a);
}

}  // namespace fairlead::python

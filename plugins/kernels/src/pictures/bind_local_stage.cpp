#include "bindings.hpp"
#include "fairlead/pictures/local_stage.hpp"
#include "map_views.hpp"

namespace fairlead::python {
namespace {

using pictures::kPatch;

// The view of a map of floats that is at least a patch high and wide.
FeatureMap features_of(nb::handle object) {
    const FeatureMap map = map_of(object);
    require(map.format == Format::floats, "features: must be float32");
    require(map.height >= kPatch && map.width >= kPatch, "features: must be at least 5 high and wide");
    return map;
}

void restyle(nb::handle features, Array<const float, 1> own, Array<const float, 1> style, Picture filters,
             Picture means, Picture deviations, Array<const float, 1> weights, std::size_t matching, float strength,
             nb::handle target) {
    const FeatureMap map = features_of(features), to = map_of(target);
    const std::size_t styles = weights.shape(0), patches = filters.shape(1);
    const auto fits = [&](const Picture& given, std::size_t last) {
        return given.shape(0) == styles && given.shape(1) == patches && given.shape(2) == last;
    };
    require(own.shape(0) == 2 * map.channels && style.shape(0) == 2 * map.channels,
            "own, style: must be [2 channels]");
    require(matching > 0 && matching <= map.channels && patches > 0 && fits(filters, matching * kPatch * kPatch) &&
                fits(means, map.channels) && fits(deviations, map.channels),
            "filters, means, deviations: must be of the weights' styles and the features' channels");
    require(to.height == map.height && to.width == map.width && to.channels == map.channels && to.data != map.data,
            "target: must be of the features' shape, and not they");
    require_scale(to);
    const nb::gil_scoped_release released;
    pictures::restyle({map, own.data(), style.data(), filters.data(), means.data(), deviations.data(), weights.data(),
                       styles, patches, matching, strength, to});
}

void take_patches(nb::handle features, Array<const float, 1> own, std::size_t matching, Array<float, 2> filters,
                  Array<float, 2> means, Array<float, 2> deviations) {
    const FeatureMap map = features_of(features);
    const std::size_t count = (map.height - kPatch + 1) * (map.width - kPatch + 1);
    const auto fits = [&](const Array<float, 2>& given, std::size_t last) {
        return given.shape(0) == count && given.shape(1) == last;
    };
    require(own.shape(0) == 2 * map.channels, "own: must be [2 channels]");
    require(matching > 0 && matching <= map.channels && fits(filters, matching * kPatch * kPatch) &&
                fits(means, map.channels) && fits(deviations, map.channels),
            "filters, means, deviations: must be of the features' patches");
    const nb::gil_scoped_release released;
    pictures::take_patches(map, own.data(), matching, filters.data(), means.data(), deviations.data());
}

}  // namespace

void bind_local_stage(nb::module_& module) {
    using namespace nb::literals;
    module.def("stage_restyle", &restyle, "features"_a, "own"_a, "style"_a, "filters"_a, "means"_a, "deviations"_a,
               "weights"_a, "matching"_a, "strength"_a, "target"_a);
    module.def("stage_patches", &take_patches, "features"_a, "own"_a, "matching"_a, "filters"_a, "means"_a,
               "deviations"_a);
}

}  // namespace fairlead::python

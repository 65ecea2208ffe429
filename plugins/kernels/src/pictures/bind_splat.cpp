#include <cstdint>
#include <limits>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/pictures/splat.hpp"

namespace fairlead::python {
namespace {

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> array_of(std::vector<T>&& values) {
    auto* kept = new std::vector<T>(std::move(values));
    const nb::capsule owner(kept, [](void* data) noexcept { delete static_cast<std::vector<T>*>(data); });
    return {kept->data(), {kept->size()}, owner};
}

nb::tuple splat(Array<const float, 2> at, Array<const float, 1> depth, Array<const float, 1> radius,
                Array<const float, 1> slack, Array<float, 2> shown) {
    const std::size_t count = at.shape(0), height = shown.shape(0), width = shown.shape(1);
    require(at.shape(1) == 2 && depth.shape(0) == count && radius.shape(0) == count && slack.shape(0) == count,
            "at, depth, radius, slack: must be [discs, 2] and [discs] each");
    require(count <= std::numeric_limits<std::int32_t>::max() &&
                width * height <= std::numeric_limits<std::int32_t>::max(),
            "discs and pixels: must be fewer than 2^31");
    for (std::size_t i = 0; i < count; ++i)
        require(radius.data()[i] >= 0 && radius.data()[i] <= 64, "radius: must lie between 0 and 64 pixels");
    pictures::Splats found;
    {
        const nb::gil_scoped_release released;
        found = pictures::splat({at.data(), depth.data(), radius.data(), slack.data(), count}, width, height, shown.data());
    }
    return nb::make_tuple(array_of(std::move(found.pixels)), array_of(std::move(found.discs)),
                          array_of(std::move(found.weights)));
}

}  // namespace

void bind_splat(nb::module_& module) {
    module.def("splat", &splat, nb::arg("at"), nb::arg("depth"), nb::arg("radius"), nb::arg("slack"), nb::arg("shown"));
}

}  // namespace fairlead::python

#include <algorithm>
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

bool below(Array<const std::int32_t, 1> index, std::size_t rows) {
    std::uint32_t most = 0;  // a negative index is a large one
    for (std::size_t k = 0; k < index.shape(0); ++k)
        most = std::max(most, static_cast<std::uint32_t>(index.data()[k]));
    return index.shape(0) == 0 || most < rows;
}

void add_shares(Array<const std::int32_t, 1> targets, Array<const std::int32_t, 1> sources,
                Array<const float, 1> weights, Array<const float, 2> values, Array<float, 2> sums) {
    const std::size_t count = targets.shape(0);
    require(sources.shape(0) == count && weights.shape(0) == count && values.shape(1) == sums.shape(1),
            "targets, sources, weights: must be of one length, values and sums of as many channels");
    require(below(targets, sums.shape(0)) && below(sources, values.shape(0)),
            "targets, sources: a row that is not there; accepted: rows of sums and of values");
    const nb::gil_scoped_release released;
    pictures::add_shares({targets.data(), sources.data(), weights.data(), count}, values.data(), values.shape(1),
                         sums.data());
}

}  // namespace

void bind_splat(nb::module_& module) {
    module.def("splat", &splat, nb::arg("at"), nb::arg("depth"), nb::arg("radius"), nb::arg("slack"), nb::arg("shown"));
    module.def("add_shares", &add_shares, nb::arg("targets"), nb::arg("sources"), nb::arg("weights"), nb::arg("values"),
               nb::arg("sums"));
}

}  // namespace fairlead::python

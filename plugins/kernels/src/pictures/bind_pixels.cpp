#include <cstdint>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/pictures/pixels.hpp"

namespace fairlead::python {
namespace {

using Picture = Array<const float, 3>;
using Starts = Array<const std::int32_t, 1>;
using Weights = Array<const float, 2>;

template <class T>
bool is(const Array<T, 3>& picture, std::size_t height, std::size_t width) {
    return picture.shape(0) == height && picture.shape(1) == width && picture.shape(2) == 3;
}

void require_pixels(const Picture& picture) {
    require(picture.shape(2) == 3 && picture.shape(0) > 0 && picture.shape(1) > 0,
            "picture: must be [height, width, 3]");
}

pictures::Taps taps_of(const Starts& starts, const Weights& weights, std::size_t length) {
    require(weights.shape(0) == starts.shape(0) && weights.shape(1) <= length, "starts, weights: must go together");
    for (std::size_t i = 0; i < starts.shape(0); ++i) {
        const std::int32_t start = starts.data()[i];
        require(start >= 0 && static_cast<std::size_t>(start) + weights.shape(1) <= length,
                "starts: weights must lie on the picture");
        require(i == 0 || starts.data()[i - 1] <= start, "starts: must not go back");
    }
    return {starts.data(), weights.data(), weights.shape(0), weights.shape(1)};
}

void resample(Picture picture, Starts tops, Weights down, Starts lefts, Weights across, Array<float, 3> target) {
    require_pixels(picture);
    const auto rows = taps_of(tops, down, picture.shape(0)), columns = taps_of(lefts, across, picture.shape(1));
    require(is(target, rows.count, columns.count), "target: must be [rows, columns, 3]");
    const nb::gil_scoped_release released;
    pictures::resample({picture.data(), picture.shape(0), picture.shape(1), rows, columns, target.data()});
}

void moments(Picture picture, std::size_t step, Array<float, 1> mean, Array<float, 2> covariance) {
    require_pixels(picture);
    require(step > 0, "step: must be at least 1");
    require(mean.shape(0) == 3 && covariance.shape(0) == 3 && covariance.shape(1) == 3,
            "mean, covariance: must be [3] and [3, 3]");
    const nb::gil_scoped_release released;
    pictures::pixel_moments(picture.data(), picture.shape(0), picture.shape(1), step, mean.data(), covariance.data());
}

void step(Picture picture, float factor, Array<float, 3> slope) {
    require_pixels(picture);
    require(is(slope, picture.shape(0), picture.shape(1)), "slope: must be of the picture's shape");
    const nb::gil_scoped_release released;
    pictures::step(picture.data(), factor, slope.data(), picture.size());
}

double mean_square(Picture picture) {
    require_pixels(picture);
    const nb::gil_scoped_release released;
    return pictures::mean_square(picture.data(), picture.size());
}

bool finite(Picture picture) {
    const nb::gil_scoped_release released;
    return pictures::finite(picture.data(), picture.size());
}

void frame(Picture picture, std::size_t margin, Array<float, 3> target) {
    require_pixels(picture);
    const std::size_t rows = target.shape(0), columns = target.shape(1);
    require(is(target, rows, columns) && rows >= picture.shape(0) + margin && columns >= picture.shape(1) + margin,
            "target: must hold the picture behind the margin");
    const nb::gil_scoped_release released;
    pictures::frame(picture.data(), picture.shape(0), picture.shape(1), margin, target.data(), rows, columns);
}

void require_cells(const Picture& picture, std::size_t side) {
    require_pixels(picture);
    require(side > 0 && picture.shape(0) % side == 0 && picture.shape(1) % side == 0,
            "picture: must have sides that are multiples of a cell's");
}

void cells(Picture picture, std::size_t side, Array<float, 3> means) {
    require_cells(picture, side);
    require(is(means, picture.shape(0) / side, picture.shape(1) / side), "means: must be of the cells");
    const nb::gil_scoped_release released;
    pictures::cells(picture.data(), picture.shape(0), picture.shape(1), side, means.data());
}

void less_cells(Picture picture, Picture means, std::size_t side, Array<float, 3> target) {
    require_cells(picture, side);
    require(is(means, picture.shape(0) / side, picture.shape(1) / side), "means: must be of the cells");
    require(is(target, picture.shape(0), picture.shape(1)), "target: must be of the picture's shape");
    const nb::gil_scoped_release released;
    pictures::less_cells(picture.data(), means.data(), picture.shape(0), picture.shape(1), side, target.data());
}

}  // namespace

void bind_pixels(nb::module_& module) {
    using namespace nb::literals;
    module.def("pixels_resample", &resample, "picture"_a, "tops"_a, "down"_a, "lefts"_a, "across"_a, "target"_a);
    module.def("pixels_moments", &moments, "picture"_a, "step"_a, "mean"_a, "covariance"_a);
    module.def("pixels_step", &step, "picture"_a, "factor"_a, "slope"_a);
    module.def("pixels_mean_square", &mean_square, "picture"_a);
    module.def("pixels_finite", &finite, "picture"_a);
    module.def("pixels_frame", &frame, "picture"_a, "margin"_a, "target"_a);
    module.def("pixels_cells", &cells, "picture"_a, "side"_a, "means"_a);
    module.def("pixels_less_cells", &less_cells, "picture"_a, "means"_a, "side"_a, "target"_a);
}

}  // namespace fairlead::python

#include <nanobind/stl/optional.h>

#include <optional>
#include <vector>

#include "bindings.hpp"
#include "fairlead/pictures/feature_map.hpp"
#include "map_views.hpp"

namespace fairlead::python {
namespace {

std::optional<FeatureMap> map_or_none(nb::handle object) {
    return object.is_none() ? std::nullopt : std::optional<FeatureMap>(map_of(object));
}

// A convolution without its result, and what it reads.
struct Prepared {
    pictures::Convolution work;
    std::vector<float> scales = {}, bias = {};  // of bytes
};

// What sums of bytes are worth, and the bias without what the source's zero adds to them.
void take_scales(nb::handle filters, Prepared& prepared) {
    const auto scales = nb::cast<Array<const float, 1>>(filters.attr("scales"), false);
    const auto sums = nb::cast<Array<const float, 1>>(filters.attr("sums"), false);
    auto& work = prepared.work;
    require(scales.shape(0) == work.outputs && sums.shape(0) == work.outputs, "scales, sums: must be of all filters");
    for (std::size_t i = 0; i < work.outputs; ++i) {
        prepared.scales.push_back(work.source.scale * scales.data()[i]);
        prepared.bias.push_back(work.bias[i] - prepared.scales[i] * sums.data()[i] * static_cast<float>(work.source.zero));
    }
    work.scales = prepared.scales.data();
    work.bias = prepared.bias.data();
}

// What a convolution of `source` by Python's Filters is, without its result.
Prepared convolution_of(const FeatureMap& source, nb::handle filters, std::size_t stride) {
    const auto data = nb::cast<Numbers>(filters.attr("data"), false);
    const auto bias = nb::cast<Array<const float, 1>>(filters.attr("bias"), false);
    const auto side = nb::cast<std::size_t>(filters.attr("side"));
    require(side == 1 || side == 3, "filters: must have a side of 1 or 3");
    require(stride >= 1 && stride <= pictures::kMostStride, "stride: must be 1 to 3");
    require_scale(source);
    require(source.border >= side / 2, "source: must have a border for the filters");
    const bool bytes = source.format == Format::bytes;
    const bool is_signed = data.dtype().code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Int);
    require(bytes ? is_signed && data.dtype().bits == 8 : !is_signed && format_of(data.dtype(), "filters") == source.format,
            "filters: must have the source's format");
    Prepared prepared{{source, data.data(), bias.data(), side, stride, (source.height + stride - 1) / stride,
                       (source.width + stride - 1) / stride, bias.shape(0)}};
    const auto& work = prepared.work;
    const std::size_t run = source.format == Format::halves ? (work.run() + 31) / 32 * 32 : work.run();
    require(work.outputs % pictures::kGroup == 0 && work.outputs > 0 && data.shape(0) == work.outputs * side * run,
            "filters: must be packed for the source's channels");
    if (bytes) take_scales(filters, prepared);
    return prepared;
}

float convolve(nb::handle source, nb::handle filters, std::size_t stride, std::size_t growth, nb::handle skip,
               nb::handle kept, nb::handle rectified) {
    const FeatureMap from = map_of(source);
    const auto added = map_or_none(skip), whole = map_or_none(kept), positive = map_or_none(rectified);
    auto prepared = convolution_of(from, filters, stride);
    auto& work = prepared.work;
    require(growth == 1 || growth == 2, "growth: must be 1 or 2");
    for (const auto* map : {&added, &whole, &positive}) {
        if (!map->has_value()) continue;
        const FeatureMap& other = **map;
        require(other.height == work.height * growth && other.width == work.width * growth &&
                    other.channels == work.outputs && other.data != from.data,
                "skip, kept, rectified: must be of the result's shape, and not the source");
    }
    work.growth = growth;
    work.skip = added ? &*added : nullptr;
    work.kept = whole ? &*whole : nullptr;
    work.rectified = positive ? &*positive : nullptr;
    if (added) require_scale(*added);
    if (whole) require_scale(*whole);
    const nb::gil_scoped_release released;
    return pictures::convolve(work);
}

float convolve_spread(nb::handle source, nb::handle filters, nb::handle rectified, Array<float, 1> mean,
                      Array<float, 1> variance) {
    const FeatureMap from = map_of(source), positive = map_of(rectified);
    auto prepared = convolution_of(from, filters, 1);
    auto& work = prepared.work;
    require(positive.height == work.height && positive.width == work.width && positive.channels == work.outputs &&
                positive.data != from.data,
            "rectified: must be of the result's shape, and not the source");
    require(mean.shape(0) == work.outputs && variance.shape(0) == work.outputs, "mean, variance: must be [outputs]");
    work.rectified = &positive;
    const nb::gil_scoped_release released;
    return pictures::convolve(work, mean.data(), variance.data());
}

void draw(nb::handle source, nb::handle filters, std::optional<Picture> under, Array<float, 3> drawn) {
    const FeatureMap from = map_of(source);
    auto prepared = convolution_of(from, filters, 1);
    auto& work = prepared.work;
    require(work.outputs == pictures::kGroup, "filters: must be 12, packed as 16");
    const auto fits = [&](const auto& picture) {
        return picture.shape(0) == 2 * work.height && picture.shape(1) == 2 * work.width && picture.shape(2) == 3;
    };
    require((!under || fits(*under)) && fits(drawn), "under, drawn: must be [2 height, 2 width, 3]");
    work.under = under ? under->data() : nullptr;
    work.drawn = drawn.data();
    const nb::gil_scoped_release released;
    pictures::convolve(work);
}

float unshuffle(Picture picture, std::optional<Picture> details, Array<const float, 2> mapping, float share, float lent,
               nb::handle target, std::optional<Array<float, 3>> richer) {
    const FeatureMap map = map_of(target);
    const auto fits = [&](const auto& given) {
        return given.shape(0) == 2 * map.height && given.shape(1) == 2 * map.width && given.shape(2) == 3;
    };
    require(fits(picture) && (!details || fits(*details)) && (!richer || fits(*richer)) && map.channels == pictures::kGroup,
            "picture, details, richer: must be [2 height, 2 width, 3] of a target of 16 channels");
    require(mapping.shape(0) == 3 && mapping.shape(1) == 4, "mapping: must be [3, 4]");
    const nb::gil_scoped_release released;
    return pictures::unshuffle({picture.data(), details ? details->data() : nullptr, mapping.data(), share, lent,
                         richer ? richer->data() : nullptr, map});
}

void moments(nb::handle source, std::size_t step, Array<float, 1> mean, Array<float, 2> covariance) {
    const FeatureMap map = map_of(source);
    require_scale(map);
    require(step > 0, "step: must be at least 1");
    require(mean.shape(0) == map.channels && covariance.shape(0) == map.channels &&
                covariance.shape(1) == map.channels,
            "mean, covariance: must be [channels] and [channels, channels]");
    const nb::gil_scoped_release released;
    pictures::moments(map, step, mean.data(), covariance.data());
}

float store(Picture values, nb::handle target, bool rectify) {
    const FeatureMap map = map_of(target);
    require(values.shape(0) == map.height && values.shape(1) == map.width && values.shape(2) == map.channels,
            "values: must be of the target's shape");
    const nb::gil_scoped_release released;
    return pictures::store(values.data(), map, rectify);
}

void recolour(Array<float, 3> picture, Array<const float, 2> mapping) {
    require(picture.shape(2) == 3 && mapping.shape(0) == 3 && mapping.shape(1) == 4,
            "picture, mapping: must be [height, width, 3] and [3, 4]");
    const nb::gil_scoped_release released;
    pictures::recolour(picture.data(), mapping.data(), picture.shape(0) * picture.shape(1));
}

float pool(nb::handle source, nb::handle target) {
    const FeatureMap from = map_of(source), to = map_of(target);
    require(from.height == 2 * to.height && from.width == 2 * to.width && from.channels == to.channels,
            "target: must be half as high and wide as the source, of its channels");
    require_scale(from);
    require(from.format == to.format || to.format != Format::bytes || to.scale > 0,
            "target: must have a scale, or the source's format");
    const nb::gil_scoped_release released;
    return pictures::pool(from, to);
}

void spread(nb::handle source, Array<float, 1> mean, Array<float, 1> variance) {
    const FeatureMap map = map_of(source);
    require_scale(map);
    require(mean.shape(0) == map.channels && variance.shape(0) == map.channels, "mean, variance: must be [channels]");
    const nb::gil_scoped_release released;
    pictures::spread(map, mean.data(), variance.data());
}

float slope(nb::handle features, nb::handle above, Array<const float, 1> scale, Array<const float, 1> shift,
           nb::handle other, float weight, nb::handle target) {
    const FeatureMap map = map_of(features), to = map_of(target);
    const auto more = map_or_none(above), against = map_or_none(other);
    const auto fits = [&](const FeatureMap& one) {
        return one.height == map.height && one.width == map.width && one.channels == map.channels;
    };
    const bool half = more && map.height == 2 * more->height && map.width == 2 * more->width &&
                      map.channels == more->channels;
    require(fits(to) && (!more || half || fits(*more)) && (!against || fits(*against)),
            "above, other, target: must be of the features' shape, or above half as high and wide");
    require_scale(map);
    for (const auto* read : {&more, &against})
        if (*read) require_scale(**read);
    require(scale.shape(0) == map.channels && shift.shape(0) == map.channels, "scale, shift: must be [channels]");
    const nb::gil_scoped_release released;
    return pictures::slope(
        {map, scale.data(), shift.data(), more ? &*more : nullptr, against ? &*against : nullptr, weight, to});
}

void pack(Array<const float, 2> weights, std::size_t side, Numbers filters,
          std::optional<Array<float, 1>> scales, std::optional<Array<float, 1>> sums) {
    const std::size_t outputs = weights.shape(0), channels = weights.shape(1) / (side * side);
    require((side == 1 || side == 3) && outputs > 0 && channels > 0 && channels * side * side == weights.shape(1),
            "weights: must be of filters of a side of 1 or 3");
    const bool is_signed = filters.dtype().code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Int);
    const Format format = is_signed ? Format::bytes : format_of(filters.dtype(), "filters");
    require(is_signed ? filters.dtype().bits == 8 && channels * side % 4 == 0 : format != Format::bytes,
            "filters: must be float32, uint16 or int8 of channels in multiples of 4");
    pictures::Packing work{weights.data(), outputs, side, channels, format, filters.data()};
    require(filters.shape(0) == work.filled() * side * work.run(), "filters: must be of all outputs");
    const auto fits = [&](const auto& given) { return given && given->shape(0) == work.filled(); };
    require(!is_signed || (fits(scales) && fits(sums)), "scales, sums: must be of all outputs");
    if (is_signed) {
        work.scales = scales->data();
        work.sums = sums->data();
    }
    const nb::gil_scoped_release released;
    pictures::pack(work);
}

void products(Array<const float, 2> left, Array<const float, 2> right, Array<float, 2> target) {
    require(left.shape(1) == right.shape(0) && target.shape(0) == left.shape(0) && target.shape(1) == right.shape(1) &&
                right.shape(1) % pictures::kGroup == 0,
            "left, right, target: must be [n, k], [k, m] and [n, m], m a multiple of 16");
    const nb::gil_scoped_release released;
    pictures::map_kernels().products(left.data(), left.shape(0), right.data(), right.shape(0), right.shape(1),
                                     target.data());
}

}  // namespace

void bind_feature_maps(nb::module_& module) {
    using namespace nb::literals;
    module.def("map_halves_by", &pictures::halves_by);
    module.def("map_bytes_by", &pictures::bytes_by);
    module.def("map_convolve", &convolve, "source"_a, "filters"_a, "stride"_a, "growth"_a, "skip"_a.none(),
               "kept"_a.none(), "rectified"_a.none());
    module.def("map_convolve_spread", &convolve_spread, "source"_a, "filters"_a, "rectified"_a, "mean"_a, "variance"_a);
    module.def("map_pack", &pack, "weights"_a, "side"_a, "filters"_a, "scales"_a.none(), "sums"_a.none());
    module.def("map_products", &products, "left"_a, "right"_a, "target"_a);
    module.def("map_draw", &draw, "source"_a, "filters"_a, "under"_a.none(), "drawn"_a);
    module.def("map_unshuffle", &unshuffle, "picture"_a, "details"_a.none(), "mapping"_a, "share"_a, "lent"_a,
               "target"_a, "richer"_a.none());
    module.def("map_moments", &moments, "source"_a, "step"_a, "mean"_a, "covariance"_a);
    module.def("map_store", &store, "values"_a, "target"_a, "rectify"_a);
    module.def("map_recolour", &recolour, "picture"_a, "mapping"_a);
    module.def("map_pool", &pool, "source"_a, "target"_a);
    module.def("map_spread", &spread, "source"_a, "mean"_a, "variance"_a);
    module.def("map_slope", &slope, "features"_a, "above"_a.none(), "scale"_a, "shift"_a, "other"_a.none(), "weight"_a,
               "target"_a);
}

}  // namespace fairlead::python

#pragma once

#include <string>

#include "arrays.hpp"
#include "fairlead/pictures/feature_map.hpp"

namespace fairlead::python {

using pictures::FeatureMap;
using pictures::Format;
using Numbers = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Picture = Array<const float, 3>;

inline Format format_of(const nb::dlpack::dtype& type, const char* name) {
    const auto code = [&](nb::dlpack::dtype_code wanted) { return type.code == static_cast<std::uint8_t>(wanted); };
    if (code(nb::dlpack::dtype_code::Float) && type.bits == 32) return Format::floats;
    require(code(nb::dlpack::dtype_code::UInt) && (type.bits == 16 || type.bits == 8),
            std::string(name) + ": must be float32, uint16 or uint8");
    return type.bits == 16 ? Format::halves : Format::bytes;
}

// What is read: bytes must mean something.
inline void require_scale(const FeatureMap& map) {
    require(map.format != Format::bytes || map.scale > 0, "map: must have a scale before it is read");
}

// The view of a Python FeatureMap, whose array the caller keeps alive.
inline FeatureMap map_of(nb::handle object) {
    const auto data = nb::cast<Numbers>(object.attr("data"), false);
    const auto size = [&](const char* name) { return nb::cast<std::size_t>(object.attr(name)); };
    const FeatureMap map{data.data(),
                         size("height"),
                         size("width"),
                         size("channels"),
                         size("border"),
                         format_of(data.dtype(), "data"),
                         object.attr("scale").is_none() ? 0.0f : nb::cast<float>(object.attr("scale")),
                         nb::cast<std::uint8_t>(object.attr("zero"))};
    require(object.attr("scale").is_none() || map.scale > 0, "scale: must be above 0");
    require(map.height > 0 && map.width > 0 && map.channels > 0 && map.channels % pictures::kGroup == 0,
            "map: must have rows, columns, and channels in multiples of 16");
    require(map.channels <= 256 && map.border <= 1, "map: must have at most 256 channels and a border of 0 or 1");
    require(data.shape(0) >= (map.height + 2 * map.border) * map.pitch() + pictures::slack(map.channels),
            "data: must hold the map, its border and the slack");
    return map;
}

}  // namespace fairlead::python

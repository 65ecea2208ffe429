#pragma once

#include <optional>
#include <string>

#include "arrays.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::python {

// Rows of bytes, possibly of a larger array.
using ByteRows = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::device::cpu>;
using Ids = Array<const std::uint32_t, 1>;

inline vectors::Space space_of(int element, int metric, std::size_t dim) {
    require(element >= 0 && element <= static_cast<int>(vectors::Element::bit), "element: unknown");
    require(metric >= 0 && metric <= static_cast<int>(vectors::Metric::cosine), "metric: unknown");
    require(dim <= vectors::kMostDim, "dim: must be 1.." + std::to_string(vectors::kMostDim));
    const vectors::Space space{static_cast<vectors::Element>(element), static_cast<vectors::Metric>(metric),
                               static_cast<std::uint32_t>(dim)};
    space.check();
    return space;
}

struct RowsView {
    const std::uint8_t* data;
    std::size_t count, stride;

    RowsView(const ByteRows& rows, std::size_t bytes, const char* name)
        : data(rows.data()), count(rows.shape(0)), stride(rows.shape(1)) {
        require(rows.shape(1) == bytes, std::string(name) + ": rows must have " + std::to_string(bytes) + " bytes");
        if (count > 0) require(rows.stride(1) == 1, std::string(name) + ": rows must be contiguous");
        if (count > 1) {
            require(rows.stride(0) >= static_cast<std::int64_t>(bytes), std::string(name) + ": rows must not overlap");
            stride = static_cast<std::size_t>(rows.stride(0));
        }
    }
    const std::uint8_t* operator[](std::size_t i) const { return data + i * stride; }
};

inline void check_ids(const std::optional<Ids>& ids, std::size_t count) {
    if (!ids) return;
    for (std::size_t i = 0; i < ids->shape(0); ++i) {
        if (ids->data()[i] >= count) {
            throw nb::index_error(("ids[" + std::to_string(i) + "]: " + std::to_string(ids->data()[i]) +
                                   " is outside 0.." + std::to_string(static_cast<std::int64_t>(count) - 1))
                                      .c_str());
        }
    }
}

}  // namespace fairlead::python

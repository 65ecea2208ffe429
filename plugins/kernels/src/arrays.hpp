#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "fairlead/packed.hpp"
#include "fairlead/views.hpp"

namespace fairlead::python {

namespace nb = nanobind;

template <class T, int N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

inline void require(bool holds, const std::string& message) {
    if (!holds) throw nb::value_error(message.c_str());
}

// The view of (int8 [rows, columns], float16 [rows, columns / 32]).
inline Q8View view(const Array<const std::int8_t, 2>& q, const AnyMatrix& scale) {
    const nb::dlpack::dtype half{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    require(scale.dtype() == half, "scale: must be float16");
    require(q.shape(1) % kGroup == 0, "q: columns must be a multiple of 32");
    require(scale.shape(0) == q.shape(0) && scale.shape(1) == q.shape(1) / kGroup,
            "scale: must have the shape [rows, columns / 32] of q");
    return {q.data(), static_cast<const std::uint16_t*>(scale.data()), q.shape(0), q.shape(1)};
}

// The view of a Python Q8Matrix, whose arrays the caller keeps alive.
inline Q8View view(nb::handle matrix) {
    return view(nb::cast<Array<const std::int8_t, 2>>(matrix.attr("q"), false),
                nb::cast<AnyMatrix>(matrix.attr("scale"), false));
}

using Rows = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::device::cpu>;

// The view of a Python PackedMatrix, whose array the caller keeps alive.
inline PackedView packed_view(nb::handle matrix) {
    const auto data = nb::cast<Rows>(matrix.attr("data"), false);
    PackedView view;
    view.bits = nb::cast<int>(matrix.attr("bits"));
    view.columns = nb::cast<std::size_t>(matrix.attr("columns"));
    view.rows = data.shape(0);
    view.data = data.data();
    require(view.bits == 4 || view.bits == 8, "bits: must be 4 or 8");
    require(view.columns > 0 && view.columns % kGroup == 0, "columns: must be a positive multiple of 32");
    require(data.shape(1) == view.row_bytes(), "data: rows must have packed_row_bytes(columns, bits) bytes");
    if (view.rows > 0) require(data.stride(1) == 1, "data: rows must be contiguous");
    if (view.rows > 1) {
        require(data.stride(0) >= static_cast<std::int64_t>(view.row_bytes()), "data: rows must not overlap");
        view.stride = static_cast<std::size_t>(data.stride(0));
    }
    return view;
}

// Positions [first, first + count) and all before them must lie on pages that exist.
inline void check_pages(const Array<const std::int32_t, 1>& table, std::size_t first, std::size_t count,
                        std::size_t pages, std::size_t page_size) {
    const std::size_t capacity = table.shape(0) * page_size;
    if (first > capacity || count > capacity - first) {
        throw nb::index_error("page_table: has too few entries for the length");
    }
    const std::size_t needed = (first + count + page_size - 1) / page_size;
    for (std::size_t i = 0; i < needed; ++i) {
        const std::int32_t page = table.data()[i];
        if (page < 0 || static_cast<std::size_t>(page) >= pages) {
            throw nb::index_error(("page_table[" + std::to_string(i) + "]: no page " + std::to_string(page)).c_str());
        }
    }
}

inline void check_indices(const Array<const std::int32_t, 1>& values, std::size_t limit, const char* name) {
    for (std::size_t i = 0; i < values.shape(0); ++i) {
        const std::int32_t value = values.data()[i];
        if (value < 0 || static_cast<std::size_t>(value) >= limit) {
            throw nb::index_error((std::string(name) + "[" + std::to_string(i) + "]: " + std::to_string(value) +
                                   " is outside 0.." + std::to_string(limit - 1))
                                      .c_str());
        }
    }
}

}  // namespace fairlead::python

#include <algorithm>
#include <cstdint>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/pictures/quilt.hpp"

namespace fairlead::python {
namespace {

void quilt(Array<const float, 3> source, Array<const std::int32_t, 2> tops, Array<const std::int32_t, 2> lefts,
           std::size_t hop, std::size_t fade, Array<float, 3> laid) {
    const std::size_t rows = tops.shape(0), columns = tops.shape(1), side = hop + fade;
    require(source.shape(2) == 3 && laid.shape(2) == 3, "source, laid: must have three colours");
    require(hop >= 1 && fade <= hop && fade % 2 == 0, "fade: must be even and at most the hop");
    require(lefts.shape(0) == rows && lefts.shape(1) == columns, "tops, lefts: must be of one shape");
    const auto fits = [&](std::size_t length, std::size_t count) {
        return length <= count * hop && length + hop > count * hop;
    };
    require(fits(laid.shape(0), rows) && fits(laid.shape(1), columns), "laid: must be as large as the tiles");
    for (std::size_t i = 0; i < rows * columns; ++i) {
        const std::int64_t top = tops.data()[i], left = lefts.data()[i];
        require(top >= 0 && left >= 0 && static_cast<std::size_t>(top) + side <= source.shape(0) &&
                    static_cast<std::size_t>(left) + side <= source.shape(1),
                "tops, lefts: tiles must lie in the source");
    }
    const nb::gil_scoped_release released;
    pictures::quilt(source.data(), source.shape(1), {tops.data(), lefts.data(), rows, columns, hop, fade},
                    {laid.data(), laid.shape(0), laid.shape(1)});
}

void nearest(Array<const float, 2> wanted, Array<const std::int32_t, 1> wanted_kinds, Array<const float, 2> patches,
             Array<const std::int32_t, 1> patch_kinds, Array<std::int32_t, 1> found) {
    const std::size_t count = wanted.shape(0), places = patches.shape(0), size = patches.shape(1);
    require(wanted.shape(1) == size && size > 0, "wanted, patches: must be of as many numbers");
    require(wanted_kinds.shape(0) == count && found.shape(0) == count && patch_kinds.shape(0) == places,
            "kinds, found: must be as many as there are rows");
    std::int32_t most = -1;
    for (std::size_t i = 0; i < places; ++i) {
        require(patch_kinds.data()[i] >= 0 && static_cast<std::size_t>(patch_kinds.data()[i]) < places,
                "patch kinds: must be from 0 to as many as there are patches");
        most = std::max(most, patch_kinds.data()[i]);
    }
    std::vector<bool> there(static_cast<std::size_t>(most + 1), false);
    for (std::size_t i = 0; i < places; ++i) there[static_cast<std::size_t>(patch_kinds.data()[i])] = true;
    for (std::size_t i = 0; i < count; ++i) {
        const std::int32_t kind = wanted_kinds.data()[i];
        require(kind >= 0 && kind <= most && there[static_cast<std::size_t>(kind)], "kinds: there must be such a patch");
    }
    const nb::gil_scoped_release released;
    pictures::nearest({wanted.data(), patches.data(), wanted_kinds.data(), patch_kinds.data(), count, places, size,
                       there.size()},
                      found.data());
}

void surroundings(Array<const float, 3> cells, Array<const std::int32_t, 1> rows,
                  Array<const std::int32_t, 1> columns, std::size_t edge, float factor, Array<float, 3> found) {
    const std::size_t side = 2 * edge + 1;
    require(cells.shape(0) > 0 && cells.shape(1) > 0 && cells.shape(2) == 3, "cells: must be [height, width, 3]");
    require(found.shape(0) == rows.shape(0) && found.shape(1) == columns.shape(0) && found.shape(2) >= 3 * side * side,
            "found: must hold the surroundings of all rows and columns");
    const nb::gil_scoped_release released;
    pictures::surroundings({cells.data(), cells.shape(0), cells.shape(1), rows.data(), columns.data(), rows.shape(0),
                            columns.shape(0), edge, factor, found.data(), found.shape(2)});
}

}  // namespace

void bind_quilt(nb::module_& module) {
    module.def("quilt", &quilt, nb::arg("source"), nb::arg("tops"), nb::arg("lefts"), nb::arg("hop"), nb::arg("fade"),
               nb::arg("laid"));
    module.def("surroundings", &surroundings, nb::arg("cells"), nb::arg("rows"), nb::arg("columns"), nb::arg("edge"),
               nb::arg("factor"), nb::arg("found"));
    module.def("nearest", &nearest, nb::arg("wanted"), nb::arg("wanted_kinds"), nb::arg("patches"),
               nb::arg("patch_kinds"), nb::arg("found"));
}

}  // namespace fairlead::python

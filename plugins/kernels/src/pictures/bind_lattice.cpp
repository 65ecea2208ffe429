#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/pictures/lattice.hpp"

namespace fairlead::python {

namespace nb = nanobind;

void bind_lattice(nb::module_& module) {
    using namespace nb::literals;
    module.def(
        "remove_lattice",
        [](Array<const float, 3> picture, Array<const float, 3> like, std::size_t cell, Array<float, 3> target,
           std::size_t margin) {
            require(picture.shape(2) == 3 && picture.shape(0) % 2 == 0 && picture.shape(1) % 2 == 0 &&
                        picture.shape(0) > 0 && picture.shape(1) > 0 && cell > 0,
                    "picture: must be [height, width, 3] with even sides");
            require(like.shape(0) == picture.shape(0) && like.shape(1) == picture.shape(1) && like.shape(2) == 3,
                    "like: must be of the picture's shape");
            require(target.shape(2) == 3 && target.shape(0) + margin <= picture.shape(0) &&
                        target.shape(1) + margin <= picture.shape(1),
                    "target: must lie in the picture");
            require(target.data() != picture.data(), "target: must not be the picture");
            const nb::gil_scoped_release released;
            pictures::remove_lattice(picture.data(), like.data(), picture.shape(0), picture.shape(1), cell,
                                     {target.data(), target.shape(0), target.shape(1), margin});
        },
        "picture"_a, "like"_a, "cell"_a, "target"_a, "margin"_a);
}

}  // namespace fairlead::python

#include <nanobind/stl/tuple.h>

#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/radio/blocks.hpp"
#include "fairlead/radio/illumination.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::radio;

// Complex numbers come as pairs of float64: [..., antennas, 2].
using Numbers = Array<const double, 1>;
using Table = Array<const double, 2>;

const Complex* complex(const double* values) { return reinterpret_cast<const Complex*>(values); }
Complex* complex(double* values) { return reinterpret_cast<Complex*>(values); }

std::tuple<double, double, double, double, int, int> radio_illuminate(Table channels, Numbers steering, Numbers sinr,
                                                                      double power, double noise, int most,
                                                                      Array<double, 2> beamformers,
                                                                      Array<double, 1> sensing,
                                                                      Array<double, 1> duals) {
    const std::size_t users = channels.shape(0), width = channels.shape(1);
    require(width % 2 == 0 && steering.shape(0) == width && sensing.shape(0) == width, "channels: must be pairs");
    require(sinr.shape(0) == users && duals.shape(0) == users, "sinr: must have one number a user");
    require(beamformers.shape(0) == users && beamformers.shape(1) == width, "beamformers: must be as the channels");
    IlluminationAnswer answer{complex(beamformers.data()), complex(sensing.data()), duals.data()};
    const IlluminationQuestion question{users, width / 2, complex(channels.data()), complex(steering.data()),
                                        sinr.data(), power, noise, most};
    {
        const nb::gil_scoped_release released;
        illuminate(question, answer);
    }
    return {answer.price, answer.illumination, answer.bound, answer.reached, answer.iterations,
            static_cast<int>(answer.status)};
}

std::tuple<double, double, double, double, double, double, int, int, int> radio_allocate(
    Table gains, Numbers weights, double power, double information, Numbers positions, Numbers sensing, int most,
    Array<double, 2> powers, Array<double, 2> shares, Array<double, 1> rates) {
    const std::size_t users = gains.shape(0), blocks = gains.shape(1);
    require(users > 0 && blocks > 0, "gains: must have a user and a block at least");
    require(weights.shape(0) == users && rates.shape(0) == users, "weights: must have one number a user");
    require(positions.shape(0) == blocks && sensing.shape(0) == blocks, "positions: must have one number a block");
    require(powers.shape(0) == users && powers.shape(1) == blocks, "powers: must be as the gains");
    require(shares.shape(0) == users && shares.shape(1) == blocks, "shares: must be as the gains");
    BlocksAnswer answer{powers.data(), shares.data(), rates.data()};
    const BlocksQuestion question{users, blocks, gains.data(), weights.data(), positions.data(), sensing.data(),
                                  power, information, most};
    {
        const nb::gil_scoped_release released;
        allocate(question, answer);
    }
    return {answer.information, answer.lambda, answer.nu, answer.centre, answer.value, answer.bound,
            answer.iterations, answer.shared, static_cast<int>(answer.status)};
}

}  // namespace

void bind_radio(nb::module_& module) {
    module.def("radio_illuminate", &radio_illuminate, nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert());
    module.def("radio_allocate", &radio_allocate, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert());
}

}  // namespace fairlead::python

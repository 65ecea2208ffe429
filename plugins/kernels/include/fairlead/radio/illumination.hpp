#pragma once

#include <cstddef>

#include "fairlead/radio/complex.hpp"
#include "fairlead/radio/status.hpp"

namespace fairlead::radio {

struct IlluminationQuestion {
    std::size_t users, antennas;
    const Complex* channels;  // [users, antennas]
    const Complex* steering;  // [antennas]
    const double* sinr;       // [users]
    double power, noise;
    int most;  // systems of K equations
};

struct IlluminationAnswer {
    Complex* beamformers;  // [users, antennas]
    Complex* sensing;      // [antennas]
    double* duals;         // [users]
    double price = 0, illumination = 0, bound = 0, reached = 0;
    int iterations = 0;
    Status status = kSolved;
};

// Beams that illuminate a direction most while each user keeps its SINR; `reference_radio.py` says how and why.
void illuminate(const IlluminationQuestion& question, IlluminationAnswer& answer);

}  // namespace fairlead::radio

#pragma once

#include <cstddef>

#include "fairlead/radio/status.hpp"

namespace fairlead::radio {

struct BlocksQuestion {
    std::size_t users, blocks;
    const double* gains;      // [users, blocks]
    const double* weights;    // [users]
    const double* positions;  // [blocks]
    const double* sensing;    // [blocks]
    double power, information;
    int most;  // Newton steps
};

struct BlocksAnswer {
    double* power;   // [users, blocks]
    double* shares;  // [users, blocks]
    double* rates;   // [users]
    double information = 0, lambda = 0, nu = 0, centre = 0, value = 0, bound = 0;
    int iterations = 0, shared = 0;
    Status status = kSolved;
};

// Powers and users of resource blocks under a bound on the delay's information; `reference_radio_blocks.py` says how.
void allocate(const BlocksQuestion& question, BlocksAnswer& answer);

}  // namespace fairlead::radio

#pragma once

#include <cstddef>

namespace fairlead::radio {

// Blocks come in multiples of this many: what is behind the last has gains, sensing and positions of zero.
inline constexpr std::size_t kLevelLanes = 8;

// What a user's blocks look like to the dual: w g, ln(w g) w - w and 1 / g, each [blocks].
struct UserLevels {
    double weight;
    const double *limit, *offset, *inverse;
};

// The best user of each block at a price: its phi, the phi of the next, the user, its power and -dp/dq.
struct BestUsers {
    double *top, *second, *winner, *power, *bent;
};

// Sums over blocks that make the dual's derivatives, with dn = -s (x^2 - c^2) and dk = 2 s (x - c).
struct LevelSums {
    double value, power, told, by_nu, by_kappa, bent, nu, kappa, nu_nu, nu_kappa, kappa_kappa;
};

// One ISA's kernels of the powers on blocks.
struct LevelKernels {
    // limit, offset and inverse of a user's SNR.
    void (*prepare)(double weight, const double* snr, std::size_t blocks, double* limit, double* offset,
                    double* inverse);
    // q = lambda - s nu (x - c)^2; returns the least.
    double (*prices)(const double* x, const double* s, double lambda, double nu, double c, std::size_t blocks,
                     double* q);
    // How many of a are not above part * b.
    double (*below)(const double* a, const double* b, double part, std::size_t blocks);
    void (*best)(const UserLevels* users, std::size_t count, const double* q, double* log_q, std::size_t blocks,
                 const BestUsers& best);
    LevelSums (*sums)(const double* x, const double* s, double c, const BestUsers& best, std::size_t blocks);
};

const LevelKernels& plain_levels();
#if defined(__x86_64__)
const LevelKernels& avx2_levels();
const LevelKernels& avx512_levels();
#endif

// The kernels of the ISA that computes now (fairlead/dispatch.hpp); the plain ones are NEON's, too.
const LevelKernels& level_kernels();

}  // namespace fairlead::radio

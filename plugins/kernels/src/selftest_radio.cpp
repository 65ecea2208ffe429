// Decisions of a radio's slot: requirements, certified gaps, and the same value on every ISA.
#include "selftest_radio.hpp"

#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "fairlead/dispatch.hpp"
#include "fairlead/radio/blocks.hpp"
#include "fairlead/radio/illumination.hpp"

namespace {

using namespace fairlead::radio;

constexpr std::size_t kUsers = 5, kBlocks = 61, kAntennas = 9;

// The value of powers that meet the information and have a gap below 1e-6; -1 otherwise.
double blocks_value() {
    std::mt19937 generator(1);
    std::exponential_distribution<double> drawn;
    std::vector<double> gains(kUsers * kBlocks), weights(kUsers), x(kBlocks), sensing(kBlocks);
    for (double& each : gains) each = drawn(generator);
    for (double& each : weights) each = 0.5 + drawn(generator);
    for (double& each : sensing) each = 0.5 + drawn(generator);
    for (std::size_t n = 0; n < kBlocks; ++n) x[n] = static_cast<double>(n);
    std::vector<double> power(gains.size()), shares(gains.size()), rates(kUsers);
    BlocksAnswer answer{power.data(), shares.data(), rates.data()};
    allocate({kUsers, kBlocks, gains.data(), weights.data(), x.data(), sensing.data(), 30, 12000, 150}, answer);
    const bool good = answer.status == kSolved && answer.information >= 12000 &&
                      answer.bound - answer.value <= 1e-6 * answer.bound;
    return good ? answer.value : -1;
}

// Whether beams meet SINR of 3 with a gap below 1e-6.
bool beams_hold() {
    std::mt19937 generator(2);
    std::normal_distribution<double> normal;
    std::vector<Complex> channels(kUsers * kAntennas), steering(kAntennas, Complex{1, 0});
    for (Complex& each : channels) each = {normal(generator), normal(generator)};
    std::vector<Complex> beams(channels.size()), sensing(kAntennas);
    std::vector<double> sinr(kUsers, 3.0), duals(kUsers);
    IlluminationAnswer answer{beams.data(), sensing.data(), duals.data()};
    illuminate({kUsers, kAntennas, channels.data(), steering.data(), sinr.data(), 100, 1, 400}, answer);
    bool good = answer.status == kSolved && answer.bound - answer.illumination <= 1e-6 * answer.bound;
    for (std::size_t k = 0; k < kUsers; ++k) {
        double own = 0, others = 1;
        for (std::size_t j = 0; j < kUsers; ++j) {
            (j == k ? own : others) += norm(inner(&channels[k * kAntennas], &beams[j * kAntennas], kAntennas));
        }
        good = good && own >= 3 * (1 - 1e-9) * others;
    }
    return good;
}

}  // namespace

int radio_failures() {
    int failures = 0;
    fairlead::select_isa("plain");
    const double expected = blocks_value();
    for (const std::string& isa : fairlead::available_isas()) {
        fairlead::select_isa(isa);
        const double found = blocks_value();
        const bool same = found > 0 && std::abs(found - expected) <= 1e-6 * expected;
        std::printf("%-4s %-8s powers of resource blocks\n", same ? "ok" : "FAIL", isa.c_str());
        failures += same ? 0 : 1;
    }
    const bool lit = beams_hold();
    std::printf("%-4s %-8s beams that illuminate\n", lit ? "ok" : "FAIL", "plain");
    return failures + (lit ? 0 : 1);
}

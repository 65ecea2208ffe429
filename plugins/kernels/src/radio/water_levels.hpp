#pragma once

#include <cstddef>
#include <vector>

#include "fairlead/radio/level_kernels.hpp"

namespace fairlead::radio {

// Prices of power, of information, and the latter times the centre of the power.
struct Prices {
    double lambda = 0, nu = 0, kappa = 0;
    Prices moved(double size, const double* step) const {
        return {lambda + size * step[0], nu + size * step[1], kappa + size * step[2]};
    }
};

// The dual at some prices: its value and derivatives; tau 0 takes each block's best user alone.
struct Level {
    Prices at;
    double tau = 0, value = 0;
    double gradient[3] = {}, hessian[3][3] = {};
};

// The dual of powers on blocks in scaled units (power one, positions in [-1, 1], sensing gains and weights up to one).
class WaterLevels {
public:
    WaterLevels(std::size_t users, std::size_t blocks);
    WaterLevels(const WaterLevels&) = delete;

    std::size_t users() const { return users_; }
    std::size_t blocks() const { return blocks_; }
    // Copies and derives what each price needs; snr [users, blocks] are of all the power.
    void set(const double* weights, const double* snr, const double* positions, const double* sensing,
             double information);
    double information() const { return information_; }

    // One more user, who hears every block alike; weight 0: none. What nobody else hears can only carry the power that
    // the information needs, a vertex of the primal where Newton's method finds no slope.
    void listen(double weight, double snr);
    // The logarithm of the best user's SNR, one at most: how large phi is.
    double scale() const;
    bool heard() const;
    // The rates of powers and shares [users, blocks], weighted.
    double rates(const double* power, const double* shares) const;

    // False outside the dual's domain.
    bool evaluate(const Prices& at, double tau, Level& level);
    // How far along the step the prices of all blocks stay above a tenth of what they are; one at most.
    double inside(const Prices& at, const double* step);
    // Powers and time shares [users, blocks] at the prices of a level; who hears a block best inherits the listener.
    void primal(const Level& level, double* power, double* shares);
    // Information of powers that the last evaluation used, and their centre.
    void measured(double& information, double& centre) const;
    // Prices to start from without and with a price of information.
    Prices start() const;
    Prices spread(const Prices& from) const;

private:
    bool fill_prices(const Prices& at);
    void best_users();
    void soften(std::size_t block, double tau);
    void share(std::size_t block, double tau, double& top, double& sum);
    void derive(const Prices& at, Level& level) const;

    std::size_t users_, blocks_, width_, active_;
    double information_ = 0;
    const LevelKernels& kernels_;
    std::vector<double> limit_, offset_, inverse_, positions_, sensing_;
    std::vector<double> q_, log_q_, before_, top_, second_, winner_, mean_, bent_, parts_;
    std::vector<UserLevels> levels_;
    BestUsers best_;
};

}  // namespace fairlead::radio

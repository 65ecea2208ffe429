// Beams of the least power, and of the largest common share of all SINR: what a demand's feasibility is judged by.
#include <algorithm>
#include <cmath>

#include "dual.hpp"

namespace fairlead::radio {
namespace {

constexpr double kTiny = 1e-300;
constexpr int kMostMaxMin = 100;

}  // namespace

bool Dual::least_power(Point& point, Budget& budget) {
    for (const double strength : {1.0, 1e2, 1e4, 1e8}) {
        std::fill(echo_.begin(), echo_.end(), strength / static_cast<double>(users_));
        if (!direct(echo_.data(), kUnpriced)) continue;
        std::copy(directions.begin(), directions.end(), point.directions.begin());
        if (root(point, kUnpriced, budget)) return true;
    }
    return from_below(point, budget);
}

// Fixed-point steps upwards until Newton's method holds, or until the power is above one.
bool Dual::from_below(Point& point, Budget& budget) {
    std::vector<double> duals(users_);
    double total = 0;
    while (total <= 1 && budget.take()) {
        if (!direct(duals.data(), kUnpriced)) return false;
        std::copy(directions.begin(), directions.end(), point.directions.begin());
        if (price(point, kUnpriced)) return root(point, kUnpriced, budget);
        total = 0;
        for (std::size_t k = 0; k < users_; ++k) {
            const double own = inner(channel(k), directions.data() + k * size_, size_).re;
            if (!(own > 0)) return false;
            duals[k] = sinr_[k] / (1 + sinr_[k]) / own;
            total += duals[k];
        }
    }
    return false;
}

double Dual::max_min(Point& point, Budget& budget) {
    std::vector<double> duals(users_, 1 / static_cast<double>(users_)), needed(users_);
    double share = 0;
    for (int step = 0; step < kMostMaxMin; ++step) {
        if (!direct(duals.data(), kUnpriced)) break;  // does not happen: the identity and a sum of squares
        double sum = 0, moved = 0;
        for (std::size_t k = 0; k < users_; ++k) {
            const double own = inner(channel(k), directions.data() + k * size_, size_).re;
            needed[k] = sinr_[k] * std::max(1 - duals[k] * own, kTiny) / own;
            sum += needed[k];
        }
        share = 1 / sum;
        for (std::size_t k = 0; k < users_; ++k) {
            moved = std::max(moved, std::abs(needed[k] * share - duals[k]));
            duals[k] = needed[k] * share;
        }
        if (moved < 1e-10 || !budget.take()) break;
    }
    std::copy(directions.begin(), directions.end(), point.directions.begin());
    share = fitting(point, share);
    point.duals = duals;
    return share;
}

// Lower the share until the directions need no more than power one.
double Dual::fitting(Point& point, double share) {
    for (const double slack : {1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9}) {
        if (price(point, kUnpriced, share * (1 - slack)) && point.power <= 1) return share * (1 - slack);
    }
    return 0;
}

void Dual::downlink(const Complex* u, double share, Complex* beams) {
    gains(u);
    for (std::size_t k = 0; k < users_; ++k) echo_[k] = std::max(norm(u + k * size_, size_), kTiny);
    for (std::size_t k = 0; k < users_; ++k) {
        const double asked = share * sinr_[k];
        for (std::size_t j = 0; j < users_; ++j) {
            const double gain = norm(products_[k * users_ + j]) / echo_[j];
            system_[k * users_ + j] = j == k ? gain : -asked * gain;
        }
        right_[k] = asked;
    }
    double total = 0;
    const bool solved = share > 0 && factor();
    if (solved) solve(right_.data());
    for (std::size_t k = 0; k < users_; ++k) total += right_[k] = solved ? std::max(right_[k], 0.0) : 1;
    for (std::size_t k = 0; k < users_; ++k) {
        const double scale = std::sqrt(right_[k] / (std::max(total, kTiny) * echo_[k]));
        for (std::size_t i = 0; i < size_; ++i) beams[k * size_ + i] = scale * u[k * size_ + i];
    }
}

bool Dual::matched(Complex* beams) const {
    double total = 0;
    std::vector<double> shares(users_);
    for (std::size_t k = 0; k < users_; ++k) {
        const double gain = norm(inner(target_.data(), channel(k), size_));
        if (!(gain > 0)) return false;
        total += shares[k] = sinr_[k] / (1 + sinr_[k]) * (1 / gain + 1);
    }
    if (!(total <= 1)) return false;
    for (std::size_t k = 0; k < users_; ++k) {
        const double scale = std::sqrt(shares[k] / total);
        for (std::size_t i = 0; i < size_; ++i) beams[k * size_ + i] = scale * target_[i];
    }
    return true;
}

double Dual::gained(const Complex* beams) const {
    double sum = 0;
    for (std::size_t k = 0; k < users_; ++k) sum += norm(inner(target_.data(), beams + k * size_, size_));
    return sum;
}

}  // namespace fairlead::radio

#include "water_levels.hpp"

#include <algorithm>
#include <cmath>

namespace fairlead::radio {
namespace {

// Users further below the best than this many tau have no share that a double could hold beside one.
constexpr double kFar = 40;

}  // namespace

WaterLevels::WaterLevels(std::size_t users, std::size_t blocks)
    : users_(users),
      blocks_(blocks),
      width_((blocks + kLevelLanes - 1) / kLevelLanes * kLevelLanes),
      active_(users),
      kernels_(level_kernels()),
      limit_((users + 1) * width_),
      offset_((users + 1) * width_),
      inverse_((users + 1) * width_),
      positions_(width_),
      sensing_(width_),
      q_(width_),
      log_q_(width_),
      before_(width_),
      top_(width_),
      second_(width_),
      winner_(width_),
      mean_(width_),
      bent_(width_),
      parts_(users + 1),
      levels_(users + 1),
      best_{top_.data(), second_.data(), winner_.data(), mean_.data(), bent_.data()} {}

void WaterLevels::set(const double* weights, const double* snr, const double* positions, const double* sensing,
                      double information) {
    std::copy_n(positions, blocks_, positions_.data());
    std::copy_n(sensing, blocks_, sensing_.data());
    information_ = information;
    std::vector<double> padded(width_);
    for (std::size_t u = 0; u < users_; ++u) {
        std::copy_n(snr + u * blocks_, blocks_, padded.data());
        const std::size_t at = u * width_;
        kernels_.prepare(weights[u], padded.data(), width_, &limit_[at], &offset_[at], &inverse_[at]);
        levels_[u] = {weights[u], &limit_[at], &offset_[at], &inverse_[at]};
    }
}

void WaterLevels::listen(double weight, double snr) {
    active_ = users_ + (weight > 0);
    if (active_ == users_) return;
    std::vector<double> padded(width_);
    std::fill_n(padded.data(), blocks_, snr);
    const std::size_t at = users_ * width_;
    kernels_.prepare(weight, padded.data(), width_, &limit_[at], &offset_[at], &inverse_[at]);
    levels_[users_] = {weight, &limit_[at], &offset_[at], &inverse_[at]};
}

double WaterLevels::scale() const {
    const double most = *std::max_element(limit_.begin(), limit_.begin() + static_cast<long>(users_ * width_));
    return most > 0 ? std::min(1.0, std::log1p(most)) : 1.0;
}

bool WaterLevels::heard() const {
    const auto end = limit_.begin() + static_cast<long>(users_ * width_);
    return std::any_of(limit_.begin(), end, [](double limit) { return limit > 0; });
}

double WaterLevels::rates(const double* power, const double* shares) const {
    double sum = 0;
    for (std::size_t u = 0; u < users_; ++u) {
        for (std::size_t n = 0; n < blocks_; ++n) {
            const double share = shares[u * blocks_ + n], inverse = levels_[u].inverse[n];
            if (!(share > 0 && inverse > 0)) continue;
            sum += levels_[u].weight * share * std::log1p(power[u * blocks_ + n] / (share * inverse));
        }
    }
    return sum;
}

bool WaterLevels::fill_prices(const Prices& at) {
    if (!(at.nu >= 0)) return false;
    const double c = at.nu > 0 ? at.kappa / at.nu : 0;
    return kernels_.prices(positions_.data(), sensing_.data(), at.lambda, at.nu, c, width_, q_.data()) > 0;
}

// phi(q) = max_p w ln(1 + p g) - q p of each block's best user, who that is, and its power.
void WaterLevels::best_users() { kernels_.best(levels_.data(), active_, q_.data(), log_q_.data(), width_, best_); }

// Softmax weights of a block's users into parts_.
void WaterLevels::share(std::size_t n, double tau, double& top, double& sum) {
    top = top_[n];
    sum = 0;
    for (std::size_t u = 0; u < active_; ++u) {
        const UserLevels& user = levels_[u];
        const double value = user.offset[n] - user.weight * log_q_[n] + q_[n] * user.inverse[n];
        const double phi = user.limit[n] > q_[n] ? value : 0.0;
        sum += parts_[u] = top - phi > kFar * tau ? 0.0 : std::exp((phi - top) / tau);
    }
}

void WaterLevels::soften(std::size_t n, double tau) {
    double top = 0, sum = 0, mean = 0, square = 0, bent = 0;
    share(n, tau, top, sum);
    for (std::size_t u = 0; u < active_; ++u) {
        const UserLevels& user = levels_[u];
        if (!(parts_[u] > 0 && user.limit[n] > q_[n])) continue;
        const double x = parts_[u] / sum, p = user.weight / q_[n] - user.inverse[n];
        mean += x * p;
        square += x * p * p;
        bent += x * user.weight / (q_[n] * q_[n]);
    }
    mean_[n] = mean;
    bent_[n] = bent + (square - mean * mean) / tau;
    top_[n] = top + tau * std::log(sum);
}

bool WaterLevels::evaluate(const Prices& at, double tau, Level& level) {
    if (!fill_prices(at)) return false;
    best_users();
    for (std::size_t n = 0; tau > 0 && n < blocks_; ++n) {
        if (top_[n] - second_[n] <= kFar * tau) soften(n, tau);
    }
    level.tau = tau;
    derive(at, level);
    return true;
}

void WaterLevels::derive(const Prices& at, Level& level) const {
    const double c = at.nu > 0 ? at.kappa / at.nu : 0;
    const LevelSums sums = kernels_.sums(positions_.data(), sensing_.data(), c, best_, width_);
    const double curve = at.nu > 0 ? 2 / at.nu * sums.told : 0;
    level.at = at;
    level.value = sums.value + at.lambda - at.nu * information_;
    level.gradient[0] = 1 - sums.power;
    level.gradient[1] = -information_ - sums.by_nu;
    level.gradient[2] = -sums.by_kappa;
    const double h[3][3] = {{sums.bent, sums.nu, sums.kappa},
                            {sums.nu, sums.nu_nu + curve * c * c, sums.nu_kappa - curve * c},
                            {sums.kappa, sums.nu_kappa - curve * c, sums.kappa_kappa + curve}};
    for (int i = 0; i < 3; ++i) std::copy_n(h[i], 3, level.hessian[i]);
}

double WaterLevels::inside(const Prices& at, const double* step) {
    double size = 1;
    if (at.nu > 0 && step[1] < 0) size = std::min(size, 0.5 * at.nu / -step[1]);
    if (!fill_prices(at)) return 0;
    before_ = q_;
    const auto low = [&] {
        return !fill_prices(at.moved(size, step)) || kernels_.below(q_.data(), before_.data(), 0.1, width_) > 0;
    };
    while (size > 1e-12 && low()) size *= 0.7;
    return size;
}

void WaterLevels::primal(const Level& level, double* power, double* shares) {
    std::fill_n(power, users_ * blocks_, 0.0);
    std::fill_n(shares, users_ * blocks_, 0.0);
    if (!fill_prices(level.at)) return;
    best_users();
    const auto heir = [&](std::size_t n) {
        std::size_t best = 0;
        for (std::size_t u = 1; u < users_; ++u) {
            if (levels_[u].limit[n] > levels_[best].limit[n]) best = u;
        }
        return best;
    };
    for (std::size_t n = 0; n < blocks_; ++n) {
        if (!(level.tau > 0 && top_[n] - second_[n] <= kFar * level.tau)) {
            auto winner = static_cast<std::size_t>(winner_[n]);
            if (winner == users_) winner = heir(n);
            shares[winner * blocks_ + n] = 1;
            power[winner * blocks_ + n] = mean_[n];
            continue;
        }
        double top = 0, sum = 1;
        share(n, level.tau, top, sum);
        for (std::size_t u = 0; u < active_; ++u) {
            const UserLevels& user = levels_[u];
            const std::size_t at = (u == users_ ? heir(n) : u) * blocks_ + n;
            shares[at] += parts_[u] / sum;
            if (user.limit[n] > q_[n]) power[at] += parts_[u] / sum * (user.weight / q_[n] - user.inverse[n]);
        }
    }
}

void WaterLevels::measured(double& information, double& centre) const {
    double sum = 0, first = 0;
    for (std::size_t n = 0; n < blocks_; ++n) {
        sum += sensing_[n] * mean_[n];
        first += sensing_[n] * mean_[n] * positions_[n];
    }
    centre = first / std::max(sum, 1e-300);
    information = 0;
    for (std::size_t n = 0; n < blocks_; ++n) {
        information += sensing_[n] * mean_[n] * (positions_[n] - centre) * (positions_[n] - centre);
    }
}

Prices WaterLevels::start() const {
    double sum = 0;
    for (std::size_t n = 0; n < blocks_; ++n) {
        double most = 0;
        for (std::size_t u = 0; u < users_; ++u) most = std::max(most, levels_[u].limit[n]);
        sum += most;
    }
    return {sum > 0 ? sum / static_cast<double>(blocks_) / 2 : 1e-6, 0, 0};
}

Prices WaterLevels::spread(const Prices& from) const {
    double information = 0, centre = 0, widest = 0;
    measured(information, centre);
    for (std::size_t n = 0; n < blocks_; ++n) {
        widest = std::max(widest, sensing_[n] * (positions_[n] - centre) * (positions_[n] - centre));
    }
    const double nu = 0.5 * from.lambda / widest;
    return {from.lambda * 1.1, nu, nu * centre};
}

}  // namespace fairlead::radio

#include "fairlead/radio/blocks.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "water_levels.hpp"

namespace fairlead::radio {
namespace {

constexpr double kResidual = 1e-9, kStalled = 1.0 / 16, kGap = 1e-4;
constexpr double kSmoothing[] = {1e-3, 1e-5}, kListening[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
constexpr int kMostSharp = 25;
constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Finite and not negative (unless signs do not matter); eight independent sums, because each waits for its last.
bool numbers(const double* values, std::size_t size, bool any_sign = false) {
    double zeros[8] = {}, least[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        for (std::size_t k = 0; k < 8; ++k) {
            const double value = values[i + k];
            zeros[k] += 0 * value;
            least[k] = value < least[k] ? value : least[k];
        }
    }
    for (; i < size; ++i) zeros[0] += 0 * values[i], least[0] = std::min(least[0], values[i]);
    double zero = 0, low = 0;
    for (std::size_t k = 0; k < 8; ++k) zero += zeros[k], low = std::min(low, least[k]);
    return zero == 0 && (any_sign || low >= 0);
}

bool accepted(const BlocksQuestion& q) {
    return numbers(q.gains, q.users * q.blocks) && numbers(q.weights, q.users) && numbers(q.sensing, q.blocks) &&
           numbers(q.positions, q.blocks, true) && numbers(&q.information, 1);
}

// The two blocks that tell most about the delay, their shares of the power, and what power one tells there.
struct Widest {
    std::size_t count = 1, block[2] = {};
    double share[2] = {1, 0}, information = 0;
};

// min_c max_n s_n (x_n - c)^2 by exchange: c where two blocks tell the same, then the block that tells most there in the
// place of that on its side. The value grows with each exchange; the last pair is the optimum.
Widest most_information(const std::vector<double>& x, const std::vector<double>& sensing) {
    Widest out;
    std::size_t heard = x.size();
    for (std::size_t n = 0; n < x.size(); ++n) {
        if (sensing[n] > 0 && (heard == x.size() || sensing[n] > sensing[heard])) heard = n;
    }
    if (heard == x.size()) return out;
    out.block[0] = heard;
    double c = x[heard], value = 0;
    std::size_t pair[2] = {heard, heard};
    for (std::size_t step = 0; step < 2 * x.size() + 2; ++step) {
        std::size_t best = heard;
        double most = 0;
        for (std::size_t n = 0; n < x.size(); ++n) {
            const double told = sensing[n] * (x[n] - c) * (x[n] - c);
            if (told > most) most = told, best = n;
        }
        if (!(most > value * (1 + 1e-12))) break;
        pair[x[best] < c ? 0 : 1] = best;
        const double left = std::sqrt(sensing[pair[0]]), right = std::sqrt(sensing[pair[1]]);
        const double apart = x[pair[1]] - x[pair[0]], part = right / (left + right);
        c = x[pair[0]] + part * apart;
        value = left * left * part * part * apart * apart;
        out = {2, {pair[0], pair[1]}, {0, 0}, value};
        out.share[0] = right / (left + right);
        out.share[1] = left / (left + right);
    }
    return out;
}

// Solve the leading free x free block of the Hessian (L D L^T, with a ridge that keeps it positive).
void newton_step(const Level& level, int free, double* step) {
    double l[3][3] = {}, d[3] = {};
    for (int i = 0; i < 3; ++i) step[i] = 0;
    for (int j = 0; j < free; ++j) {
        d[j] = level.hessian[j][j] * (1 + 1e-14);
        for (int c = 0; c < j; ++c) d[j] -= l[j][c] * l[j][c] * d[c];
        d[j] = std::max(d[j], 1e-15 * level.hessian[j][j] + 1e-300);
        for (int i = j + 1; i < free; ++i) {
            double sum = level.hessian[i][j];
            for (int c = 0; c < j; ++c) sum -= l[i][c] * l[j][c] * d[c];
            l[i][j] = sum / d[j];
        }
    }
    for (int i = 0; i < free; ++i) {
        step[i] = -level.gradient[i];
        for (int c = 0; c < i; ++c) step[i] -= l[i][c] * step[c];
    }
    for (int i = 0; i < free; ++i) step[i] /= d[i];
    for (int i = free; i-- > 0;) {
        for (int c = i + 1; c < free; ++c) step[i] -= l[c][i] * step[c];
    }
}

class Descent {
public:
    // Scratch for powers and shares [users, blocks].
    Descent(WaterLevels& water, int most, double* power, double* shares)
        : water_(water), most_(most), base_(water.scale()), power_(power), shares_(shares) {}

    // Without the bound on the information first, with it where it is missed.
    void run(Level& level) {
        edged(water_.start(), 1, level);
        double information = 0, centre = 0;
        water_.evaluate(level.at, level.tau, level);
        water_.measured(information, centre);
        if (water_.information() > 0 && information < water_.information() * (1 - kResidual)) {
            const Prices at = water_.spread(level.at);
            if (!edged(at, 3, level)) listened(at, level);
        }
    }
    int used() const { return used_; }

private:
    bool settled(const Level& level, int free) const {
        const double *g = level.gradient, limit = kResidual * water_.information();
        if (std::abs(g[0]) > kResidual) return false;
        return free == 1 || (std::abs(g[1]) <= limit && std::abs(g[2]) <= limit);
    }

    // Newton's method; smoothed where an edge stops it.
    bool edged(const Prices& at, int free, Level& level) {
        bool done = descend(at, 0, free, kMostSharp, level);
        for (std::size_t i = 0; i < std::size(kSmoothing) && !done; ++i) {
            done = descend(level.at, kSmoothing[i] * base_, free, most_, level) && i + 1 == std::size(kSmoothing);
        }
        return done;
    }

    // With a user who hears everything, whose weight falls as that of a barrier.
    void listened(Prices at, Level& level) {
        const double snr = 4 * at.lambda;
        for (const double part : kListening) {
            const double weight = part * base_, tau = std::max(kSmoothing[1] * base_, 0.1 * weight);
            water_.listen(weight, snr / weight);
            descend(at, tau, 1, most_, level);
            const bool done = descend(level.at, tau, 3, most_, level);
            at = level.at;
            if (used_ >= most_ || (done && gap(level) <= 0.1 * kGap)) break;
        }
    }

    double gap(const Level& level) {
        Level bound;
        water_.primal(level, power_, shares_);
        if (!water_.evaluate(level.at, level.tau, bound)) return 1;
        return 1 - water_.rates(power_, shares_) / std::max(bound.value, 1e-300);
    }

    bool descend(const Prices& at, double tau, int free, int most, Level& level) {
        if (!water_.evaluate(at, tau, level)) return false;
        Level next;
        int slow = 0;
        for (int step = 0;; ++step) {
            if (settled(level, free)) return true;
            if (step >= most || used_ >= most_) return false;
            ++used_;
            bool crept = false;
            if (!along(level, tau, free, next, crept)) return false;
            level = next;
            slow = crept ? slow + 1 : 0;
            if (slow > 2) return false;
        }
    }

    bool along(const Level& level, double tau, int free, Level& next, bool& crept) {
        double step[3], slope = 0;
        newton_step(level, free, step);
        for (int i = 0; i < free; ++i) slope += level.gradient[i] * step[i];
        double size = water_.inside(level.at, step);
        const double least = size * (tau == 0 ? kStalled : 1e-12);
        for (; size > least; size *= 0.5) {
            if (!water_.evaluate(level.at.moved(size, step), tau, next)) continue;
            crept = size < 1e-3;
            if (next.value <= level.value + 1e-4 * size * slope + 1e-14 * std::abs(level.value)) return true;
        }
        return false;
    }

    WaterLevels& water_;
    int most_, used_ = 0;
    double base_, *power_, *shares_;
};

// Measures a decision in the units of the question.
class Judge {
public:
    Judge(const BlocksQuestion& q, BlocksAnswer& answer) : q_(q), answer_(answer), rho_(q.blocks) {}

    double measure(double* centre = nullptr) {
        std::fill(rho_.begin(), rho_.end(), 0.0);
        for (std::size_t u = 0; u < q_.users; ++u) {
            for (std::size_t n = 0; n < q_.blocks; ++n) rho_[n] += answer_.power[u * q_.blocks + n];
        }
        for (std::size_t n = 0; n < q_.blocks; ++n) rho_[n] *= q_.sensing[n];
        return measure(rho_, centre);
    }

    // All power on the blocks that tell most, for the users that hear them best.
    void extreme(const Widest& widest) {
        std::fill_n(answer_.power, q_.users * q_.blocks, 0.0);
        std::fill_n(answer_.shares, q_.users * q_.blocks, 0.0);
        std::fill_n(answer_.shares, q_.blocks, 1.0);
        for (std::size_t i = 0; i < widest.count; ++i) {
            const std::size_t n = widest.block[i];
            std::size_t best = 0;
            double most = -1;
            for (std::size_t u = 0; u < q_.users; ++u) {
                const double rate =
                    q_.weights[u] * std::log1p(q_.gains[u * q_.blocks + n] * q_.power * widest.share[i]);
                if (rate > most) most = rate, best = u;
            }
            answer_.shares[n] = 0;
            answer_.shares[best * q_.blocks + n] = 1;
            answer_.power[best * q_.blocks + n] += q_.power * widest.share[i];
        }
    }

    void normalise() {
        double total = 0;
        for (std::size_t i = 0; i < q_.users * q_.blocks; ++i) total += answer_.power[i];
        const double scale = total > 0 ? q_.power / total : 0;
        for (std::size_t i = 0; i < q_.users * q_.blocks; ++i) answer_.power[i] *= scale;
    }

    // Move as little power to the telling blocks as reaches the information, which is concave along the way.
    void widen(const Widest& widest) {
        std::vector<double> far(q_.blocks), mixed(q_.blocks);
        for (std::size_t i = 0; i < widest.count; ++i) {
            far[widest.block[i]] += q_.power * widest.share[i] * q_.sensing[widest.block[i]];
        }
        measure();
        double low = 0, high = 1;
        for (int step = 0; step < 40; ++step) {
            const double part = 0.5 * (low + high);
            for (std::size_t n = 0; n < q_.blocks; ++n) mixed[n] = rho_[n] + part * (far[n] - rho_[n]);
            (measure(mixed) >= q_.information ? high : low) = part;
        }
        for (std::size_t i = 0; i < q_.users * q_.blocks; ++i) answer_.power[i] *= 1 - high;
        for (std::size_t i = 0; i < widest.count; ++i) {
            for (std::size_t u = 0; u < q_.users; ++u) {
                const std::size_t at = u * q_.blocks + widest.block[i];
                answer_.power[at] += high * answer_.shares[at] * widest.share[i] * q_.power;
            }
        }
    }

    void finish() {
        answer_.information = measure(&answer_.centre);
        answer_.value = 0;
        std::vector<int> users(q_.blocks);
        for (std::size_t u = 0; u < q_.users; ++u) {
            double rate = 0;
            for (std::size_t n = 0; n < q_.blocks; ++n) {
                const std::size_t at = u * q_.blocks + n;
                const double share = answer_.shares[at];
                if (!(share > 0)) continue;
                rate += share * std::log2(1 + answer_.power[at] * q_.gains[at] / share);
                users[n] += share > 1e-9;
            }
            answer_.rates[u] = rate;
            answer_.value += q_.weights[u] * rate;
        }
        answer_.shared = 0;
        for (const int each : users) answer_.shared += each > 1;
    }

private:
    double measure(const std::vector<double>& rho, double* centre = nullptr) const {
        double total = 0, first = 0, sum = 0;
        for (std::size_t n = 0; n < q_.blocks; ++n) total += rho[n], first += rho[n] * q_.positions[n];
        const double c = total > 0 ? first / total : 0;
        for (std::size_t n = 0; n < q_.blocks; ++n) sum += rho[n] * (q_.positions[n] - c) * (q_.positions[n] - c);
        if (centre != nullptr) *centre = c;
        return sum;
    }

    const BlocksQuestion& q_;
    BlocksAnswer& answer_;
    std::vector<double> rho_;
};

}  // namespace

void allocate(const BlocksQuestion& q, BlocksAnswer& answer) {
    if (!accepted(q)) {
        answer.status = kRefused;
        return;
    }
    const auto [first, last] = std::minmax_element(q.positions, q.positions + q.blocks);
    const double middle = 0.5 * (*first + *last), half = std::max(0.5 * (*last - *first), 1e-300);
    const double strongest = *std::max_element(q.sensing, q.sensing + q.blocks);
    const double heaviest = *std::max_element(q.weights, q.weights + q.users);
    std::vector<double> x(q.blocks), sensing(q.blocks), weights(q.users);
    for (std::size_t n = 0; n < q.blocks; ++n) {
        x[n] = (q.positions[n] - middle) / half;
        sensing[n] = strongest > 0 ? q.sensing[n] / strongest : 0;
    }
    for (std::size_t u = 0; u < q.users; ++u) weights[u] = heaviest > 0 ? q.weights[u] / heaviest : 1;
    const double unit = q.power * strongest * half * half;
    const double asked = q.information > 0 ? q.information * (1 + 2 * kResidual) / unit : 0;
    const Widest widest = asked > 0 ? most_information(x, sensing) : Widest{};
    Judge judge(q, answer);
    if (asked > 0 && !(asked < widest.information * (1 - 1e-9))) {
        judge.extreme(widest);
        judge.finish();
        answer.lambda = answer.nu = answer.bound = kInfinite;
        answer.status = kInfeasible;
        return;
    }
    std::vector<double> snr(q.gains, q.gains + q.users * q.blocks);
    for (double& each : snr) each *= q.power;
    WaterLevels water(q.users, q.blocks);
    water.set(weights.data(), snr.data(), x.data(), sensing.data(), asked);
    Descent descent(water, q.most, answer.power, answer.shares);
    Level level, sharp;
    descent.run(level);
    water.primal(level, answer.power, answer.shares);
    judge.normalise();
    if (judge.measure() < q.information) judge.widen(widest);
    judge.finish();
    const double bits = heaviest / std::log(2.0);
    water.listen(0, 0);
    answer.bound = water.evaluate(level.at, 0, sharp) ? sharp.value * bits : kInfinite;
    if (!water.heard()) answer.bound = 0;
    answer.lambda = level.at.lambda * bits / q.power;
    answer.nu = level.at.nu > 0 ? level.at.nu * bits / unit : 0;
    answer.iterations = descent.used();
    answer.status = answer.bound - answer.value <= kGap * answer.bound ? kSolved : kStopped;
}

}  // namespace fairlead::radio

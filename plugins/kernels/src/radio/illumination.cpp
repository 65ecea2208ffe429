#include "fairlead/radio/illumination.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "dual.hpp"

namespace fairlead::radio {
namespace {

constexpr double kTolerance = 1e-8, kGap = 1e-6, kTurn = 1e-5;

bool finite(const Complex* values, std::size_t size) {
    double sum = 0;  // not finite as soon as one of the products is not
    for (std::size_t i = 0; i < size; ++i) sum += 0 * values[i].re + 0 * values[i].im;
    return sum == 0;
}

bool accepted(const IlluminationQuestion& q) {
    bool good = finite(q.channels, q.users * q.antennas) && finite(q.steering, q.antennas);
    for (std::size_t k = 0; k < q.users; ++k) good = good && q.sinr[k] >= 0 && std::isfinite(q.sinr[k]);
    return good;
}

// An orthonormal basis [d][antennas] of the rows (Gram-Schmidt, twice; dependent ones are left out).
std::size_t span(const std::vector<Complex>& rows, std::size_t count, std::size_t antennas,
                 std::vector<Complex>& basis) {
    std::size_t found = 0;
    const std::size_t most = std::min(count, antennas);
    basis.assign(most * antennas, {});
    for (std::size_t r = 0; r < count && found < most; ++r) {
        Complex* rest = basis.data() + found * antennas;
        std::copy_n(rows.data() + r * antennas, antennas, rest);
        const double size = norm(rest, antennas);
        for (int pass = 0; pass < 2; ++pass) {
            for (std::size_t b = 0; b < found; ++b) {
                const Complex* other = basis.data() + b * antennas;
                add(rest, -1 * inner(other, rest, antennas), other, antennas);
            }
        }
        const double left = norm(rest, antennas);
        if (!(left > 1e-20 * size)) continue;
        const double scale = 1 / std::sqrt(left);
        for (std::size_t i = 0; i < antennas; ++i) rest[i] = scale * rest[i];
        ++found;
    }
    return found;
}

struct Best {
    Point point;
    double price = kUnpriced;
    Status status = kSolved;
};

double next_price(double price, const Point* point, double least, double aim, double low, double high) {
    const double middle = 0.5 * (low + high);
    if (point == nullptr || point->curvature >= 0 || point->power <= least) return middle;
    const double above = point->power - least, inverse = 1 / std::sqrt(above);
    const double step = price + (aim - inverse) / (-0.5 * inverse / above * point->curvature);
    return low < step && step < high ? step : middle;
}

// The price at which the beams need power one: Newton on the power's inverse square root, in a bracket.
Best find_price(Dual& dual, const Point& least, bool target, Budget& budget) {
    Best best{least};
    const double spare = 1 - least.power;
    if (spare <= 10 * kTolerance || !target) return best;
    const double aim = 1 / std::sqrt(spare - kTolerance);
    double low = 0, high = 1 / spare, price = 1;
    Point point = least;
    while (high - low > 1e-14 * high) {
        point.directions = best.point.directions;
        const bool found = dual.root(point, price, budget);
        if (budget.spent()) {
            best.status = kStopped;
            return best;
        }
        if (!found || point.power >= 1) {
            low = price;
        } else {
            high = best.price = price;
            best.point = point;
            if (1 - point.power <= 2 * kTolerance) break;
        }
        price = next_price(price, found ? &point : nullptr, least.power, aim, low, high);
    }
    return best;
}

// M is singular at the optimum (a target orthogonal to channels): take the beams of a target beside it.
void turn(Dual& dual, const Point& least, Budget& budget, std::vector<Complex>& beams) {
    const std::vector<Complex> target(dual.target(), dual.target() + dual.size());
    for (std::size_t k = 0; k < dual.users(); ++k) {
        const double scale = kTurn / std::sqrt(norm(dual.channel(k), dual.size()));
        add(dual.target(), {scale, 0}, dual.channel(k), dual.size());
    }
    const double size = 1 / std::sqrt(norm(dual.target(), dual.size()));
    for (std::size_t i = 0; i < dual.size(); ++i) dual.target()[i] = size * dual.target()[i];
    const Best best = find_price(dual, least, true, budget);
    std::copy(target.begin(), target.end(), dual.target());
    std::vector<Complex> turned(beams.size());
    dual.downlink(best.point.directions.data(), 1, turned.data());
    if (dual.gained(turned.data()) > dual.gained(beams.data())) beams.swap(turned);
}

// In scaled units: price, bound, reached and duals of the answer, and the beams [K][d].
void decide(Dual& dual, bool target, Budget& budget, IlluminationAnswer& answer, std::vector<double>& duals,
            std::vector<Complex>& beams) {
    answer.price = answer.bound = answer.reached = 1;
    if (dual.matched(beams.data())) return;
    const std::size_t users = dual.users();
    Point least{std::vector<double>(users), std::vector<double>(users), dual.directions};
    if (!dual.least_power(least, budget) || least.power > 1) {
        answer.reached = dual.max_min(least, budget);
        answer.price = answer.bound = kUnpriced;
        answer.status = kInfeasible;
        duals = least.duals;
        dual.downlink(least.directions.data(), answer.reached, beams.data());
        return;
    }
    const Best best = find_price(dual, least, target, budget);
    dual.downlink(best.point.directions.data(), 1, beams.data());
    answer.price = best.price;
    answer.status = best.status;
    duals = best.point.duals;
    if (best.price != kUnpriced) answer.bound = best.price - best.point.total;
    if (target && best.status == kSolved && answer.bound - dual.gained(beams.data()) > kGap * answer.bound) {
        turn(dual, least, budget, beams);
    }
}

// Nobody asks for anything: the target alone.
void alone(const IlluminationQuestion& q, double size, IlluminationAnswer& answer) {
    const double scale = size > 0 ? std::sqrt(q.power) / size : 0;
    for (std::size_t i = 0; i < q.antennas; ++i) answer.sensing[i] = scale * q.steering[i];
    answer.price = size * size;
    answer.illumination = answer.bound = q.power * size * size;
    answer.reached = 1;
}

}  // namespace

void illuminate(const IlluminationQuestion& q, IlluminationAnswer& answer) {
    std::fill_n(answer.beamformers, q.users * q.antennas, Complex{});
    std::fill_n(answer.sensing, q.antennas, Complex{});
    std::fill_n(answer.duals, q.users, 0.0);
    if (!accepted(q)) {
        answer.status = kRefused;
        return;
    }
    std::vector<std::size_t> asked;
    bool unheard = false;
    for (std::size_t k = 0; k < q.users; ++k) {
        if (!(q.sinr[k] > 0)) continue;
        if (norm(q.channels + k * q.antennas, q.antennas) > 0) asked.push_back(k);
        else unheard = true;
    }
    const double size = std::sqrt(norm(q.steering, q.antennas));
    if (asked.empty()) {
        alone(q, size, answer);
    } else {
        const std::size_t users = asked.size(), antennas = q.antennas;
        std::vector<Complex> rows((users + 1) * antennas), basis;
        const double scale = std::sqrt(q.power / q.noise), inverse = size > 0 ? 1 / size : 0;
        for (std::size_t i = 0; i < antennas; ++i) {
            for (std::size_t k = 0; k < users; ++k) {
                rows[k * antennas + i] = scale * q.channels[asked[k] * antennas + i];
            }
            rows[users * antennas + i] = inverse * q.steering[i];
        }
        const std::size_t d = span(rows, users + 1, antennas, basis);
        Dual dual(users, d);
        for (std::size_t b = 0; b < d; ++b) {
            const Complex* axis = basis.data() + b * antennas;
            for (std::size_t k = 0; k < users; ++k) dual.channel(k)[b] = inner(axis, &rows[k * antennas], antennas);
            dual.target()[b] = inner(axis, &rows[users * antennas], antennas);
        }
        for (std::size_t k = 0; k < users; ++k) dual.sinr()[k] = q.sinr[asked[k]];
        std::vector<Complex> beams(users * d);
        std::vector<double> duals(users);
        Budget budget{q.most};
        decide(dual, size > 0, budget, answer, duals, beams);
        const double unit = q.power * size * size, root = std::sqrt(q.power);
        answer.illumination = dual.gained(beams.data()) * unit;
        answer.bound *= answer.bound == kUnpriced ? 1 : unit;
        answer.price *= answer.price == kUnpriced ? 1 : size * size;
        answer.iterations = budget.used;
        for (std::size_t k = 0; k < users; ++k) {
            answer.duals[asked[k]] = duals[k] * unit / q.noise;
            for (std::size_t b = 0; b < d; ++b) {
                add(answer.beamformers + asked[k] * antennas, root * beams[k * d + b], &basis[b * antennas], antennas);
            }
        }
    }
    if (unheard) {
        answer.status = kInfeasible;
        answer.reached = 0;
        answer.bound = kUnpriced;
    }
}

}  // namespace fairlead::radio

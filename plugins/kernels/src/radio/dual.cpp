#include "dual.hpp"

#include <algorithm>
#include <cmath>

namespace fairlead::radio {
namespace {

constexpr double kTiny = 1e-300, kSettled = 1e-9;

}  // namespace

Dual::Dual(std::size_t users, std::size_t size)
    : directions(users * size),
      users_(users),
      size_(size),
      channels_(users * size),
      target_(size),
      matrix_(size * size),
      products_(users * users),
      bent_(size),
      sinr_(users),
      own_(users),
      pivots_(size),
      system_(users * users),
      right_(users),
      echo_(users),
      wanted_(users),
      order_(users) {}

// products[j][k] = h_j^H u_k, own[k] = |h_k^H u_k|^2, and the system I - J of the directions.
void Dual::gains(const Complex* u) {
    for (std::size_t j = 0; j < users_; ++j) {
        for (std::size_t k = 0; k < users_; ++k) products_[j * users_ + k] = inner(channel(j), u + k * size_, size_);
        own_[j] = std::max(norm(products_[j * users_ + j]), kTiny);
    }
}

// LU with pivots in place of system_, whose rows order_ then names; false where it is singular.
bool Dual::factor() {
    for (std::size_t i = 0; i < users_; ++i) order_[i] = i;
    for (std::size_t i = 0; i < users_; ++i) {
        std::size_t best = i;
        for (std::size_t r = i + 1; r < users_; ++r) {
            if (std::abs(system_[r * users_ + i]) > std::abs(system_[best * users_ + i])) best = r;
        }
        if (!(std::abs(system_[best * users_ + i]) > 0)) return false;
        if (best != i) {
            std::swap(order_[i], order_[best]);
            std::swap_ranges(&system_[i * users_], &system_[i * users_] + users_, &system_[best * users_]);
        }
        const double inverse = 1 / system_[i * users_ + i];
        for (std::size_t r = i + 1; r < users_; ++r) {
            const double by = system_[r * users_ + i] *= inverse;
            for (std::size_t c = i + 1; c < users_; ++c) system_[r * users_ + c] -= by * system_[i * users_ + c];
        }
    }
    return true;
}

void Dual::solve(double* right) {
    double* y = wanted_.data();
    for (std::size_t i = 0; i < users_; ++i) {
        double sum = right[order_[i]];
        for (std::size_t c = 0; c < i; ++c) sum -= system_[i * users_ + c] * y[c];
        y[i] = sum;
    }
    for (std::size_t i = users_; i-- > 0;) {
        double sum = y[i];
        for (std::size_t c = i + 1; c < users_; ++c) sum -= system_[i * users_ + c] * right[c];
        right[i] = sum / system_[i * users_ + i];
    }
}

bool Dual::price(Point& point, double price, double share) {
    const Complex* u = point.directions.data();
    gains(u);
    for (std::size_t k = 0; k < users_; ++k) {
        const double scale = share * sinr_[k] / own_[k];
        for (std::size_t j = 0; j < users_; ++j) {
            system_[k * users_ + j] = j == k ? 1 : -scale * norm(products_[j * users_ + k]);
        }
        right_[k] = scale * norm(u + k * size_, size_);
        echo_[k] = scale * norm(inner(target_.data(), u + k * size_, size_));
    }
    if (!factor()) return false;
    solve(right_.data());
    if (price != kUnpriced) solve(echo_.data());
    point.power = point.total = 0;
    for (std::size_t k = 0; k < users_; ++k) {
        const double slope = right_[k], dual = price == kUnpriced ? slope : price * slope - echo_[k];
        if (!(slope > 0 && dual > 0 && std::isfinite(slope))) return false;
        point.slope[k] = slope;
        point.duals[k] = dual;
        point.power += slope;
        point.total += dual;
    }
    return true;
}

bool Dual::direct(const double* duals, double price) {
    const std::size_t d = size_;
    const double ridge = price == kUnpriced ? 1 : price, echo = price == kUnpriced ? 0 : 1;
    for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            Complex sum = -echo * (target_[i] * conj(target_[j]));
            for (std::size_t k = 0; k < users_; ++k) {
                sum = sum + duals[k] * (channel(k)[i] * conj(channel(k)[j]));
            }
            matrix_[i * d + j] = sum;
        }
        matrix_[i * d + i] = {matrix_[i * d + i].re + ridge, 0};
    }
    // L D L^H in place: L below the diagonal, 1 / D in pivots_.
    for (std::size_t j = 0; j < d; ++j) {
        const double pivot = matrix_[j * d + j].re;
        if (!(pivot > 0 && std::isfinite(pivot))) return false;
        pivots_[j] = 1 / pivot;
        for (std::size_t i = j + 1; i < d; ++i) {
            const Complex by = pivots_[j] * matrix_[i * d + j];
            for (std::size_t c = j + 1; c <= i; ++c) {
                matrix_[i * d + c] = matrix_[i * d + c] - by * conj(matrix_[c * d + j]);
            }
        }
        for (std::size_t i = j + 1; i < d; ++i) matrix_[i * d + j] = pivots_[j] * matrix_[i * d + j];
    }
    for (std::size_t k = 0; k < users_; ++k) {
        Complex* u = directions.data() + k * d;
        for (std::size_t i = 0; i < d; ++i) {
            Complex sum = channel(k)[i];
            for (std::size_t c = 0; c < i; ++c) sum = sum - matrix_[i * d + c] * u[c];
            u[i] = sum;
        }
        for (std::size_t i = 0; i < d; ++i) u[i] = pivots_[i] * u[i];
        for (std::size_t i = d; i-- > 0;) {
            for (std::size_t c = i + 1; c < d; ++c) u[i] = u[i] - conj(matrix_[c * d + i]) * u[c];
        }
    }
    return true;
}

bool Dual::root(Point& point, double price, Budget& budget) {
    double before = kUnpriced;
    while (budget.take()) {
        if (!this->price(point, price) || !direct(point.duals.data(), price)) return false;
        if (before - point.total <= kSettled * point.total) {
            point.curvature = curvature(point);
            return true;
        }
        before = point.total;
        std::copy(directions.begin(), directions.end(), point.directions.begin());
    }
    return false;
}

// The second derivative of the sum of prices by the price of power, at a root whose directions are in `directions`.
double Dual::curvature(const Point& point) {
    const std::size_t d = size_;
    gains(directions.data());
    for (std::size_t k = 0; k < users_; ++k) {
        const Complex* u = directions.data() + k * d;
        std::copy(u, u + d, bent_.begin());
        for (std::size_t j = 0; j < users_; ++j) {
            add(bent_.data(), point.slope[j] * products_[j * users_ + k], channel(j), d);
        }
        const double own = products_[k * users_ + k].re, first = -inner(u, bent_.data(), d).re;
        double second = 0;
        for (std::size_t i = 0; i < d; ++i) {
            for (std::size_t c = 0; c < i; ++c) bent_[i] = bent_[i] - matrix_[i * d + c] * bent_[c];
            second += 2 * pivots_[i] * norm(bent_[i]);
        }
        right_[k] = sinr_[k] * (2 * first * first / (own * own * own) - second / (own * own));
        for (std::size_t j = 0; j < users_; ++j) {
            system_[k * users_ + j] = j == k ? 1 : -sinr_[k] / own_[k] * norm(products_[j * users_ + k]);
        }
    }
    if (!factor()) return 0;
    solve(right_.data());
    double sum = 0;
    for (std::size_t k = 0; k < users_; ++k) sum += right_[k];
    return sum;
}

}  // namespace fairlead::radio

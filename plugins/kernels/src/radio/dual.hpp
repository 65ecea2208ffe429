#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "fairlead/radio/complex.hpp"

namespace fairlead::radio {

inline constexpr double kUnpriced = std::numeric_limits<double>::infinity();

// Counts iterations down; a solver stops when none is left.
struct Budget {
    int most, used = 0;
    bool take() { return ++used <= most; }
    bool spent() const { return used > most; }
};

// Prices of users and the directions [K][d] that they belong to; the power that the beams need is the sum of slopes.
struct Point {
    std::vector<double> duals, slope;
    std::vector<Complex> directions;
    double power = 0, total = 0, curvature = 0;
};

// The dual of the beams in a basis of d <= K + 1 dimensions, with power and noise one. A price of kUnpriced means power
// alone: the target plays no part.
class Dual {
public:
    Dual(std::size_t users, std::size_t size);

    std::size_t users() const { return users_; }
    std::size_t size() const { return size_; }
    Complex* channel(std::size_t user) { return channels_.data() + user * size_; }
    const Complex* channel(std::size_t user) const { return channels_.data() + user * size_; }
    Complex* target() { return target_.data(); }
    double* sinr() { return sinr_.data(); }

    // Prices that fit point.directions; false where there are none.
    bool price(Point& point, double price, double share = 1);
    // The directions M^-1 h into `directions`; false where M is not positive definite.
    bool direct(const double* duals, double price);
    // The largest root at `price`, from point.directions; false where there is none or iterations ran out.
    bool root(Point& point, double price, Budget& budget);
    // The beams of the least power; false where no power up to one is enough.
    bool least_power(Point& point, Budget& budget);
    // The largest share of all SINR that power one reaches.
    double max_min(Point& point, Budget& budget);
    // Beams [K][d] along the directions whose SINR (times share) are met exactly, scaled up to power one.
    void downlink(const Complex* directions, double share, Complex* beams);
    // Beams that all point at the target, where the users' SINR allow that.
    bool matched(Complex* beams) const;
    double gained(const Complex* beams) const;

    std::vector<Complex> directions;

private:
    void gains(const Complex* directions);
    bool factor();
    void solve(double* right);
    double curvature(const Point& point);
    bool from_below(Point& point, Budget& budget);
    double fitting(Point& point, double share);

    std::size_t users_, size_;
    std::vector<Complex> channels_, target_, matrix_, products_, bent_;
    std::vector<double> sinr_, own_, pivots_, system_, right_, echo_, wanted_;
    std::vector<std::size_t> order_;
};

}  // namespace fairlead::radio

#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/multiply_doubles.hpp"

// Eigenvectors of small symmetric matrices: Householder's reduction to three diagonals, then QL steps with implicit
// shifts (EISPACK's tred2 and tql2, as JAMA has them), with rows where these have columns, so that loops run along memory.
namespace fairlead::pictures {
namespace {

inline double dot(const double* one, const double* other, std::size_t count) {
    constexpr std::size_t kWide = sizeof(Doubles) / sizeof(double);
    Doubles sums = {};
    std::size_t i = 0;
    for (; i + kWide <= count; i += kWide) {
        Doubles left, right;
        std::memcpy(&left, one + i, sizeof left);
        std::memcpy(&right, other + i, sizeof right);
        sums += left * right;
    }
    double total = 0;
    for (std::size_t lane = 0; lane < kWide; ++lane) total += sums[lane];
    for (; i < count; ++i) total += one[i] * other[i];
    return total;
}

inline void add_scaled(double factor, const double* __restrict from, std::size_t count, double* __restrict to) {
    for (std::size_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

// A symmetric matrix on its way to its eigenvectors.
class Eigenvectors {
public:
    Eigenvectors(double* matrix, std::size_t side, std::size_t size, double* values)
        : rows_(matrix), side_(side), size_(size), values_(values), beside_(size) {}

    void find() {
        reduce();
        gather();
        diagonalize();
    }

private:
    double* row(std::size_t index) { return rows_ + index * side_; }

    // Takes away what lies beside the three diagonals, from the last row up; reflections stay in the rows.
    void reduce() {
        double *d = values_, *e = beside_.data();
        for (std::size_t j = 0; j < size_; ++j) d[j] = row(j)[size_ - 1];
        for (std::size_t i = size_ - 1; i > 0; --i) {
            double scale = 0, h = 0;
            for (std::size_t k = 0; k < i; ++k) scale += std::abs(d[k]);
            if (scale == 0) {
                e[i] = d[i - 1];
                for (std::size_t j = 0; j < i; ++j) {
                    d[j] = row(j)[i - 1];
                    row(j)[i] = row(i)[j] = 0;
                }
            } else {
                h = reflect(i, scale);
            }
            d[i] = h;
        }
    }

    double reflect(std::size_t i, double scale) {
        double *d = values_, *e = beside_.data();
        for (std::size_t k = 0; k < i; ++k) d[k] /= scale;
        double h = dot(d, d, i);
        const double f = d[i - 1], g = f > 0 ? -std::sqrt(h) : std::sqrt(h);
        e[i] = scale * g;
        h -= f * g;
        d[i - 1] = f - g;
        std::fill_n(e, i, 0.0);
        for (std::size_t j = 0; j < i; ++j) {
            row(i)[j] = d[j];
            const double* below = row(j) + j + 1;
            const std::size_t count = i - j - 1;
            e[j] += row(j)[j] * d[j] + dot(below, d + j + 1, count);
            add_scaled(d[j], below, count, e + j + 1);
        }
        for (std::size_t j = 0; j < i; ++j) e[j] /= h;
        add_scaled(-dot(e, d, i) / (h + h), d, i, e);
        for (std::size_t j = 0; j < i; ++j) {
            add_scaled(-d[j], e + j, i - j, row(j) + j);
            add_scaled(-e[j], d + j, i - j, row(j) + j);
        }
        for (std::size_t j = 0; j < i; ++j) {
            d[j] = row(j)[i - 1];
            row(j)[i] = 0;
        }
        return h;
    }

    // The product of all reflections.
    void gather() {
        double* d = values_;
        const std::size_t last = size_ - 1;
        for (std::size_t i = 0; i < last; ++i) {
            row(i)[last] = row(i)[i];
            row(i)[i] = 1;
            const double h = d[i + 1];
            double* reflection = row(i + 1);
            if (h != 0) {
                for (std::size_t k = 0; k <= i; ++k) d[k] = reflection[k] / h;
                for (std::size_t j = 0; j <= i; ++j) add_scaled(-dot(reflection, row(j), i + 1), d, i + 1, row(j));
            }
            std::fill_n(reflection, i + 1, 0.0);
        }
        for (std::size_t j = 0; j < size_; ++j) {
            d[j] = row(j)[last];
            row(j)[last] = 0;
        }
        row(last)[last] = 1;
        beside_[0] = 0;
    }

    void diagonalize() {
        constexpr int kMostSteps = 60;
        double *d = values_, *e = beside_.data();
        std::copy(e + 1, e + size_, e);
        e[size_ - 1] = 0;
        double shifted = 0, most = 0;
        for (std::size_t l = 0; l < size_; ++l) {
            most = std::max(most, std::abs(d[l]) + std::abs(e[l]));
            const double small = std::numeric_limits<double>::epsilon() * most;
            std::size_t m = l;
            while (m + 1 < size_ && std::abs(e[m]) > small) ++m;
            for (int step = 0; m > l && step < kMostSteps; ++step) {
                shifted += step_down(l, m);
                if (!(std::abs(e[l]) > small)) break;
            }
            d[l] += shifted;
            e[l] = 0;
        }
    }

    // One QL step over rows l to m; what it shifts the values by.
    double step_down(std::size_t l, std::size_t m) {
        double *d = values_, *e = beside_.data();
        const double first = d[l], half = (d[l + 1] - first) / (2 * e[l]);
        const double root = half < 0 ? half - std::sqrt(half * half + 1) : half + std::sqrt(half * half + 1);
        d[l] = e[l] / root;
        d[l + 1] = e[l] * root;
        const double next = d[l + 1], shift = first - d[l], before = e[l + 1];
        for (std::size_t i = l + 2; i < size_; ++i) d[i] -= shift;
        double p = d[m], c = 1, c2 = 1, c3 = 1, s = 0, s2 = 0;
        for (std::size_t i = m; i-- > l;) {
            c3 = c2;
            c2 = c;
            s2 = s;
            const double g = c * e[i], h = c * p, r = std::sqrt(p * p + e[i] * e[i]);
            e[i + 1] = s * r;
            s = e[i] / r;
            c = p / r;
            p = c * d[i] - s * g;
            d[i + 1] = h + s * (c * g + s * d[i]);
            turn(row(i), row(i + 1), c, s);
        }
        p = -s * s2 * c3 * before * e[l] / next;
        e[l] = s * p;
        d[l] = c * p;
        return shift;
    }

    void turn(double* __restrict one, double* __restrict other, double c, double s) {
        for (std::size_t k = 0; k < size_; ++k) {
            const double left = one[k], right = other[k];
            other[k] = s * left + c * right;
            one[k] = c * left - s * right;
        }
    }

    double* rows_;
    std::size_t side_, size_;
    double* values_;
    std::vector<double> beside_;
};

// The first `size` rows and columns of a symmetric matrix whose rows lie `side` apart -> its eigenvectors as rows.
void find_eigenvectors(double* matrix, std::size_t side, std::size_t size, double* values) {
    Eigenvectors(matrix, side, size, values).find();
}

}  // namespace
}  // namespace fairlead::pictures

#include "fairlead/pictures/least_map.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fairlead/pictures/feature_map.hpp"

namespace fairlead::pictures {
namespace {

// Eigenvalues nearer to 1 than this are as good as 1, and steps that surely suffice.
constexpr double kNear = 1e-11;
constexpr int kMostSteps = 100;

// A square matrix, filled with nothing to a side that kernels take.
struct Matrix {
    explicit Matrix(std::size_t size) : side((size + kSide - 1) / kSide * kSide), held(side * side, 0.0) {}
    double& at(std::size_t row, std::size_t column) { return held[row * side + column]; }
    double* row(std::size_t index) { return &held[index * side]; }

    std::size_t side;
    std::vector<double> held;
};

Matrix product(const Matrix& left, const Matrix& right) {
    Matrix found(left.side);
    map_kernels().multiply(left.held.data(), right.held.data(), left.side, found.held.data());
    return found;
}

Matrix transposed(Matrix& matrix) {
    Matrix found(matrix.side);
    for (std::size_t i = 0; i < matrix.side; ++i)
        for (std::size_t j = 0; j < matrix.side; ++j) found.at(j, i) = matrix.at(i, j);
    return found;
}

double added(const float* covariance, std::size_t size, const Ridge& ridge) {
    double trace = 0;
    for (std::size_t i = 0; i < size; ++i) trace += covariance[i * size + i];
    return ridge.share * trace / static_cast<double>(size) + ridge.little;
}

Matrix ridged(const float* covariance, std::size_t size, double more) {
    Matrix found(size);
    for (std::size_t i = 0; i < size; ++i) {
        for (std::size_t j = 0; j < size; ++j) found.at(i, j) = covariance[i * size + j];
        found.at(i, i) += more;
    }
    return found;
}

// The upper triangle U of U' U, in its place; the padding stays nothing.
void take_root(Matrix& matrix, std::size_t size) {
    for (std::size_t j = 0; j < size; ++j) {
        double* pivot = matrix.row(j);
        std::fill_n(pivot, j, 0.0);
        const double by = 1 / std::sqrt(std::max(pivot[j], 1e-300));
        for (std::size_t k = j; k < size; ++k) pivot[k] *= by;
        for (std::size_t i = j + 1; i < size; ++i) {
            double* row = matrix.row(i);
            const double factor = pivot[i];
            for (std::size_t k = i; k < size; ++k) row[k] -= factor * pivot[k];
        }
    }
}

// A positive matrix to the power of -1/2, of eigenvalues of at least `least`: coupled Newton-Schulz steps (Higham, 2008,
// 6.35), each scaled by what is known of the smallest eigenvalue (Chen and Chow, 2014), which halves their number.
Matrix inverse_root(Matrix matrix, std::size_t size, double least) {
    double square = 0;
    for (const double number : matrix.held) square += number * number;
    const double most = std::sqrt(square);
    for (double& number : matrix.held) number /= most;
    Matrix inverse(size);
    for (std::size_t i = 0; i < matrix.side; ++i) {
        inverse.at(i, i) = 1;
        if (i >= size) matrix.at(i, i) = 1;
    }
    // Of the product's eigenvalues, the smallest one's root.
    double low = std::sqrt(std::min(1.0, least / most));
    for (int step = 0; step < kMostSteps && 1 - low > kNear; ++step) {
        const double scale = std::sqrt(3 / (1 + low + low * low));
        low = 0.5 * scale * low * (3 - scale * scale * low * low);
        Matrix turn = product(inverse, matrix);
        for (double& number : turn.held) number *= -0.5 * scale * scale * scale;
        for (std::size_t i = 0; i < turn.side; ++i) turn.at(i, i) += 1.5 * scale;
        matrix = product(matrix, turn);
        inverse = product(turn, inverse);
    }
    for (double& number : inverse.held) number /= std::sqrt(most);
    return inverse;
}

}  // namespace

void least_map(const float* covariance, const float* wanted, std::size_t size, const Ridge& ridge, double* map) {
    const double own = added(covariance, size, ridge), other = added(wanted, size, ridge);
    Matrix upper = ridged(wanted, size, other);
    take_root(upper, size);
    const Matrix lower = transposed(upper);
    const Matrix turned = product(product(upper, ridged(covariance, size, own)), lower);
    // No eigenvalue of a product of positive matrices is below the product of their smallest ones.
    Matrix found = product(product(lower, inverse_root(turned, size, own * other)), upper);
    for (std::size_t i = 0; i < size; ++i)
        for (std::size_t j = 0; j < size; ++j) map[i * size + j] = 0.5 * (found.at(i, j) + found.at(j, i));
}

}  // namespace fairlead::pictures

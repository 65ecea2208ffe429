#include "fairlead/pictures/least_map.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fairlead/pictures/feature_map.hpp"

namespace fairlead::pictures {
namespace {

// Eigenvalues of positive matrices that rounding made smaller count as this.
constexpr double kSmallest = 1e-14;

// A square matrix, filled with nothing to a side that kernels take.
struct Matrix {
    explicit Matrix(std::size_t size) : side((size + kSide - 1) / kSide * kSide), held(side * side, 0.0) {}
    double& at(std::size_t row, std::size_t column) { return held[row * side + column]; }
    double* row(std::size_t index) { return &held[index * side]; }

    std::size_t side;
    std::vector<double> held;
};

Matrix product(const Matrix& left, const Matrix& right, bool symmetric = false) {
    Matrix found(left.side);
    map_kernels().multiply(left.held.data(), right.held.data(), left.side, symmetric, found.held.data());
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

}  // namespace

void least_map(const float* covariance, const float* wanted, std::size_t size, const Ridge& ridge, double* map) {
    const double own = added(covariance, size, ridge), other = added(wanted, size, ridge);
    Matrix upper = ridged(wanted, size, other);
    take_root(upper, size);
    const Matrix lower = transposed(upper);
    Matrix vectors = product(product(upper, ridged(covariance, size, own)), lower, true);
    std::vector<double> values(size);
    map_kernels().eigenvectors(vectors.row(0), vectors.side, size, values.data());
    for (std::size_t i = 0; i < size; ++i) {
        const double by = 1 / std::sqrt(std::sqrt(std::max(values[i], kSmallest)));
        for (std::size_t j = 0; j < size; ++j) vectors.at(i, j) *= by;
    }
    Matrix half = product(vectors, upper);
    const Matrix found = product(transposed(half), half, true);
    for (std::size_t i = 0; i < size; ++i)
        for (std::size_t j = 0; j < size; ++j) map[i * size + j] = found.held[i * found.side + j];
}

}  // namespace fairlead::pictures

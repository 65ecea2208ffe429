#pragma once

#include "fairlead/vectors/rotation.hpp"
#include "simd/words.hpp"

namespace fairlead::vectors::kernels {

// Four rows of a float32 matrix at a time.
template <class V>
void project(const float* matrix, std::size_t rows, std::size_t columns, const float* x, float* out) {
    constexpr std::size_t w = V::width;
    for (std::size_t r = 0; r < rows; r += 4) {
        const float* m[4];
        typename V::Vec sum[4];
        FAIRLEAD_UNROLL
        for (std::size_t k = 0; k < 4; ++k) {
            m[k] = matrix + (r + k < rows ? r + k : rows - 1) * columns;
            sum[k] = V::zero();
        }
        std::size_t i = 0;
        for (; i + w <= columns; i += w) {
            const typename V::Vec v = V::load(x + i);
            FAIRLEAD_UNROLL
            for (std::size_t k = 0; k < 4; ++k) sum[k] = V::fma(V::load(m[k] + i), v, sum[k]);
        }
        if (i < columns) {
            const typename V::Vec v = V::load_n(x + i, columns - i);
            FAIRLEAD_UNROLL
            for (std::size_t k = 0; k < 4; ++k) sum[k] = V::fma(V::load_n(m[k] + i, columns - i), v, sum[k]);
        }
        for (std::size_t k = 0; k < 4 && r + k < rows; ++k) out[r + k] = V::sum(sum[k]);
    }
}

// out = matrix x, and x -= transposed matrix times out, for orthonormal rows: four rows are read once for both.
template <class V>
void project_out(const float* matrix, std::size_t rows, std::size_t columns, float* x, float* out) {
    constexpr std::size_t w = V::width;
    for (std::size_t r = 0; r < rows; r += 4) {
        const std::size_t some = rows - r < 4 ? rows - r : 4;
        const float* m = matrix + r * columns;
        project<V>(m, some, columns, x, out + r);
        typename V::Vec factor[4];
        for (std::size_t k = 0; k < 4; ++k) factor[k] = V::set1(k < some ? out[r + k] : 0.0F);
        const std::size_t last = some - 1;
        for (std::size_t c = 0; c < columns; c += w) {
            const std::size_t n = columns - c < w ? columns - c : w;
            typename V::Vec v = V::zero();
            FAIRLEAD_UNROLL
            for (std::size_t k = 0; k < 4; ++k) {
                const float* row = m + (k < some ? k : last) * columns + c;
                v = V::fma(factor[k], n == w ? V::load(row) : V::load_n(row, n), v);
            }
            if (n == w) V::store(x + c, V::sub(V::load(x + c), v));
            else V::store_n(x + c, V::sub(V::load_n(x + c, n), v), n);
        }
    }
}

// Hadamard butterflies of a window of a power of two, without those closer than 16 where the window has others: the
// permutations between the rounds bring neighbours apart.
template <class V>
FAIRLEAD_INLINE void butterflies(float* x, std::size_t size) {
    float scale = 1;
    for (std::size_t half = size >= 64 ? 16 : 1; half < size; half *= 2) {
        scale *= 0.70710678F;
        for (std::size_t at = 0; at < size; at += 2 * half) {
            if (half < 16) {
                for (std::size_t i = at; i < at + half; ++i) {
                    const float a = x[i], b = x[i + half];
                    x[i] = a + b;
                    x[i + half] = a - b;
                }
                continue;
            }
            for (std::size_t i = at; i < at + half; i += V::width) {
                const typename V::Vec a = V::load(x + i), b = V::load(x + i + half);
                V::store(x + i, V::add(a, b));
                V::store(x + i + half, V::sub(a, b));
            }
        }
    }
    for (std::size_t i = 0; i < size; ++i) x[i] *= scale;
}

template <class V>
void mix(const RotationView& rotation, float* x, float* scratch) {
    const std::size_t dim = rotation.dim;
    std::size_t size = 1;
    while (2 * size <= dim) size *= 2;
    for (std::size_t round = 0; round < rotation.rounds; ++round) {
        const std::uint32_t* order = rotation.order + round * dim;
        const float* signs = rotation.signs + round * dim;
        for (std::size_t i = 0; i < dim; ++i) scratch[i] = x[order[i]] * signs[i];
        butterflies<V>(scratch, size);
        if (size < dim) butterflies<V>(scratch + dim - size, size);
        __builtin_memcpy(x, scratch, dim * sizeof *x);
    }
}

}  // namespace fairlead::vectors::kernels

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

// Four registers of columns at a time.
template <class V>
void take_projection(const float* matrix, std::size_t rows, std::size_t columns, const float* y, float* out) {
    constexpr std::size_t w = V::width;
    std::size_t c = 0;
    for (; c + 4 * w <= columns; c += 4 * w) {
        typename V::Vec sum[4];
        FAIRLEAD_UNROLL
        for (std::size_t k = 0; k < 4; ++k) sum[k] = V::zero();
        for (std::size_t r = 0; r < rows; ++r) {
            const typename V::Vec factor = V::set1(y[r]);
            FAIRLEAD_UNROLL
            for (std::size_t k = 0; k < 4; ++k) {
                sum[k] = V::fma(factor, V::load(matrix + r * columns + c + k * w), sum[k]);
            }
        }
        FAIRLEAD_UNROLL
        for (std::size_t k = 0; k < 4; ++k) V::store(out + c + k * w, V::sub(V::load(out + c + k * w), sum[k]));
    }
    for (; c < columns; c += w) {
        const std::size_t n = columns - c < w ? columns - c : w;
        typename V::Vec sum = V::zero();
        for (std::size_t r = 0; r < rows; ++r) {
            sum = V::fma(V::set1(y[r]), V::load_n(matrix + r * columns + c, n), sum);
        }
        V::store_n(out + c, V::sub(V::load_n(out + c, n), sum), n);
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

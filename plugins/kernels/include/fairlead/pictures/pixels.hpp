#pragma once

#include <cstddef>
#include <cstdint>

// Passes over the pixels of pictures [height, width, 3] of floats.
namespace fairlead::pictures {

// Of each of `count` places along a side: the first pixel that it is a mean of, and the weights of `taps` from there on.
struct Taps {
    const std::int32_t* starts;  // [count], none before the last
    const float* weights;        // [count, taps]
    std::size_t count, taps;
};

struct Resampling {
    const float* picture;  // [height, width, 3], numbers below 0 and above 1 count as these
    std::size_t height, width;
    Taps rows, columns;
    float* target;  // [rows, columns, 3], in [0, 1]
};

// One ISA's passes.
struct PixelKernels {
    // Rows [first, last) of the target.
    void (*resample)(const Resampling& work, std::size_t first, std::size_t last);
    // Of every step-th pixel of a row: sums of colours less `pivot` [3] and of their products, added to [3] and [3, 3].
    void (*sums)(const float* row, std::size_t width, std::size_t step, const float* pivot, double* sums);
    // clip(picture + factor * slope) in place of the slope.
    void (*step)(const float* picture, float factor, float* slope, std::size_t first, std::size_t last);
    // The sum of numbers' squares.
    double (*squares)(const float* numbers, std::size_t count);
};

void resample(const Resampling& work);

// Mean [3] and covariance [3, 3] over every step-th row and column.
void pixel_moments(const float* picture, std::size_t height, std::size_t width, std::size_t step, float* mean,
                   float* covariance);

void step(const float* picture, float factor, float* slope, std::size_t count);

// The mean of numbers' squares.
double mean_square(const float* numbers, std::size_t count);

// Whether all numbers are finite.
bool finite(const float* numbers, std::size_t count);

// A picture [height, width, 3] with what is mirrored at its borders, the outermost pixels too: `target`
// [rows, columns, 3], whose pixel (margin, margin) is the picture's first.
void frame(const float* picture, std::size_t height, std::size_t width, std::size_t margin, float* target,
           std::size_t rows, std::size_t columns);

// Means of cells of `side` x `side` pixels: [height / side, width / side, 3].
void cells(const float* picture, std::size_t height, std::size_t width, std::size_t side, float* means);

// A picture less its cells' means, linear between their centres and constant beyond the outer ones.
void less_cells(const float* picture, const float* means, std::size_t height, std::size_t width, std::size_t side,
                float* target);

}  // namespace fairlead::pictures

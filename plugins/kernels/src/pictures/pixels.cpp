#include "fairlead/pictures/pixels.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "fairlead/pictures/feature_map.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead::pictures {
namespace {

constexpr std::size_t kPixel = 3;
// Rows of one sum: always the same ones, so that results do not depend on threads.
constexpr std::size_t kRowsOfASum = 16;

// Where a place from `first` on lies in what is mirrored at both ends, the ends' pixels too.
std::size_t mirrored(std::ptrdiff_t place, std::size_t length) {
    const auto period = static_cast<std::ptrdiff_t>(2 * length);
    const auto at = static_cast<std::size_t>((place % period + period) % period);
    return at < length ? at : 2 * length - 1 - at;
}

// Where a pixel lies between two cells' centres: the first one, and how much of the second.
struct Between {
    std::size_t first, second;
    float share;
};

Between between(std::size_t place, std::size_t count, std::size_t side) {
    const float at = std::clamp((static_cast<float>(place) + 0.5f) / static_cast<float>(side) - 0.5f, 0.0f,
                                static_cast<float>(count - 1));
    const auto first = static_cast<std::size_t>(at);
    return {first, std::min(first + 1, count - 1), at - static_cast<float>(first)};
}

}  // namespace

void resample(const Resampling& work) {
    const PixelKernels& kernels = *map_kernels().pixels;
    parallel_for(work.rows.count, 16, 1,
                 [&](std::size_t first, std::size_t last) { kernels.resample(work, first, last); });
}

void pixel_moments(const float* picture, std::size_t height, std::size_t width, std::size_t step, float* mean,
                   float* covariance) {
    const PixelKernels& kernels = *map_kernels().pixels;
    const std::size_t rows = (height + step - 1) / step, parts = (rows + kRowsOfASum - 1) / kRowsOfASum;
    constexpr std::size_t kSums = kPixel + kPixel * kPixel;
    std::vector<double> sums(parts * kSums, 0.0);
    parallel_for(parts, 4, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last; ++part)
            for (std::size_t row = part * kRowsOfASum; row < std::min(rows, (part + 1) * kRowsOfASum); ++row)
                kernels.sums(picture + row * step * width * kPixel, width, step, picture, &sums[part * kSums]);
    });
    for (std::size_t part = 1; part < parts; ++part)
        for (std::size_t i = 0; i < kSums; ++i) sums[i] += sums[part * kSums + i];
    const double count = static_cast<double>(rows * ((width + step - 1) / step));
    for (std::size_t i = 0; i < kPixel; ++i) {
        mean[i] = static_cast<float>(picture[i] + sums[i] / count);
        for (std::size_t j = i; j < kPixel; ++j) {
            const double product = sums[kPixel + i * kPixel + j] / count - sums[i] / count * (sums[j] / count);
            covariance[i * kPixel + j] = covariance[j * kPixel + i] = static_cast<float>(product);
        }
    }
}

void step(const float* picture, float factor, float* slope, std::size_t count) {
    const PixelKernels& kernels = *map_kernels().pixels;
    parallel_for(count, 65536, 16,
                 [&](std::size_t first, std::size_t last) { kernels.step(picture, factor, slope, first, last); });
}

double mean_square(const float* numbers, std::size_t count) {
    const PixelKernels& kernels = *map_kernels().pixels;
    // Always the same parts, so that the sum does not depend on threads.
    constexpr std::size_t kPart = 16384;
    std::vector<double> sums((count + kPart - 1) / kPart);
    parallel_for(sums.size(), 4, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last; ++part)
            sums[part] = kernels.squares(numbers + part * kPart, std::min(kPart, count - part * kPart));
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total / static_cast<double>(count);
}

bool finite(const float* numbers, std::size_t count) {
    constexpr std::uint32_t kExponent = 0x7f800000u;
    constexpr std::size_t kAtOnce = 4096;
    std::atomic<bool> all{true};
    parallel_for((count + kAtOnce - 1) / kAtOnce, 16, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last && all.load(std::memory_order_relaxed); ++part) {
            std::uint32_t found = 0;
            for (std::size_t i = part * kAtOnce; i < std::min(count, (part + 1) * kAtOnce); ++i) {
                std::uint32_t word;
                std::memcpy(&word, numbers + i, sizeof word);
                found |= static_cast<std::uint32_t>((word & kExponent) == kExponent);
            }
            if (found != 0) all.store(false, std::memory_order_relaxed);
        }
    });
    return all.load();
}

void frame(const float* picture, std::size_t height, std::size_t width, std::size_t margin, float* target,
           std::size_t rows, std::size_t columns) {
    const auto edge = static_cast<std::ptrdiff_t>(margin);
    parallel_for(rows, 32, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row) {
            const float* from = picture + mirrored(static_cast<std::ptrdiff_t>(row) - edge, height) * width * kPixel;
            float* to = target + row * columns * kPixel;
            const auto take = [&](std::size_t column) {
                const std::size_t at = mirrored(static_cast<std::ptrdiff_t>(column) - edge, width);
                std::memcpy(to + column * kPixel, from + at * kPixel, kPixel * sizeof(float));
            };
            for (std::size_t column = 0; column < margin; ++column) take(column);
            std::memcpy(to + margin * kPixel, from, width * kPixel * sizeof(float));
            for (std::size_t column = margin + width; column < columns; ++column) take(column);
        }
    });
}

void cells(const float* picture, std::size_t height, std::size_t width, std::size_t side, float* means) {
    const std::size_t length = width * kPixel, across = width / side;
    parallel_for(height / side, 8, 1, [&](std::size_t first, std::size_t last) {
        std::vector<float> line(length);
        for (std::size_t row = first; row < last; ++row) {
            const float* from = picture + row * side * length;
            std::memcpy(line.data(), from, length * sizeof(float));
            for (std::size_t down = 1; down < side; ++down)
                for (std::size_t i = 0; i < length; ++i) line[i] += from[down * length + i];
            for (std::size_t column = 0; column < across; ++column) {
                float sums[kPixel] = {};
                for (std::size_t u = 0; u < side; ++u)
                    for (std::size_t c = 0; c < kPixel; ++c) sums[c] += line[(column * side + u) * kPixel + c];
                for (std::size_t c = 0; c < kPixel; ++c)
                    means[(row * across + column) * kPixel + c] = sums[c] / static_cast<float>(side * side);
            }
        }
    });
}

void less_cells(const float* picture, const float* means, std::size_t height, std::size_t width, std::size_t side,
                float* target) {
    const std::size_t down = height / side, across = width / side, length = width * kPixel;
    // Along rows first: what follows is the same for all numbers of a row.
    std::vector<float> wide(down * length);
    for (std::size_t column = 0; column < width; ++column) {
        const Between at = between(column, across, side);
        for (std::size_t row = 0; row < down; ++row) {
            const float* from = means + row * across * kPixel;
            for (std::size_t c = 0; c < kPixel; ++c) {
                const float left = from[at.first * kPixel + c], right = from[at.second * kPixel + c];
                wide[row * length + column * kPixel + c] = left + at.share * (right - left);
            }
        }
    }
    parallel_for(height, 32, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row) {
            const Between at = between(row, down, side);
            const float *upper = &wide[at.first * length], *lower = &wide[at.second * length];
            const float* from = picture + row * length;
            float* to = target + row * length;
            for (std::size_t i = 0; i < length; ++i) to[i] = from[i] - (upper[i] + at.share * (lower[i] - upper[i]));
        }
    });
}

}  // namespace fairlead::pictures

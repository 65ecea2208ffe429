#include "fairlead/pictures/lattice.hpp"

#include <algorithm>
#include <vector>

#include "fairlead/thread_pool.hpp"

namespace fairlead::pictures {
namespace {

// Numbers of a place: (row, column, colour) of 2 x 2 pixels.
constexpr std::size_t kPhases = 12, kColours = 3;
// Fourth differences reach as far, and answer a checkerboard of one with 16 along each axis.
constexpr std::size_t kReach = 2;
constexpr float kScale = 1.0f / 256.0f;

// Where a place lies between two cells' centres: the first one, and how much of the second.
struct Between {
    std::size_t first, second;
    float share;
};

Between between(std::size_t place, std::size_t count, std::size_t cell) {
    const float last = static_cast<float>(count - 1);
    const float at = std::clamp((static_cast<float>(place) + 0.5f) / static_cast<float>(cell) - 0.5f, 0.0f, last);
    const auto first = static_cast<std::size_t>(at);
    return {first, std::min(first + 1, count - 1), at - static_cast<float>(first)};
}

struct Cells {
    std::size_t rows, columns, cell;
    std::vector<float> means;  // [rows, columns, 12]
};

// Of one row of cells: sums of both pixel rows of each place, then means.
void measure(const float* picture, const float* like, std::size_t height, std::size_t width, std::size_t row,
             Cells& cells) {
    const std::size_t first = row * cells.cell, last = std::min(height / 2, first + cells.cell);
    const std::size_t length = width * kColours;
    std::vector<float> sums(2 * length, 0.0f);
    for (std::size_t place = first; place < last; ++place) {
        // Two pixel rows lie one after the other.
        const float *drawn = picture + 2 * place * length, *was = like + 2 * place * length;
        for (std::size_t i = 0; i < 2 * length; ++i) sums[i] += drawn[i] - was[i];
    }
    for (std::size_t at = 0; at < cells.columns; ++at) {
        const std::size_t left = at * cells.cell, right = std::min(width / 2, left + cells.cell);
        float* mean = &cells.means[(row * cells.columns + at) * kPhases];
        for (std::size_t down = 0; down < 2; ++down)
            for (std::size_t column = left; column < right; ++column)
                for (std::size_t i = 0; i < 6; ++i) mean[6 * down + i] += sums[down * length + 6 * column + i];
        const float scale = 1.0f / static_cast<float>((last - first) * (right - left));
        for (std::size_t colour = 0; colour < kColours; ++colour) {
            // Without what all phases share and without the checkerboard, equal phases are left across each diagonal.
            const float one = mean[colour], two = mean[3 + colour], three = mean[6 + colour], four = mean[9 + colour];
            const float falling = (one - four) / 2 * scale, rising = (two - three) / 2 * scale;
            mean[colour] = falling, mean[9 + colour] = -falling;
            mean[3 + colour] = rising, mean[6 + colour] = -rising;
        }
    }
}

// Of each row of cells, the pattern of both pixel rows, linear between cells' centres: [rows, 2, width, 3].
std::vector<float> spread_along(const Cells& cells, std::size_t width) {
    const std::size_t length = width * kColours;
    std::vector<float> found(cells.rows * 2 * length);
    for (std::size_t column = 0; column < width / 2; ++column) {
        const Between at = between(column, cells.columns, cells.cell);
        for (std::size_t row = 0; row < cells.rows; ++row) {
            const float* left = &cells.means[(row * cells.columns + at.first) * kPhases];
            const float* right = &cells.means[(row * cells.columns + at.second) * kPhases];
            float* to = &found[row * 2 * length + 6 * column];
            for (std::size_t down = 0; down < 2; ++down)
                for (std::size_t i = 0; i < 6; ++i)
                    to[down * length + i] = left[6 * down + i] + at.share * (right[6 * down + i] - left[6 * down + i]);
        }
    }
    return found;
}

// Mirrored at the outermost pixels, which keeps the two colours of a checkerboard.
std::size_t mirrored(std::ptrdiff_t at, std::size_t length) {
    const auto period = 2 * (static_cast<std::ptrdiff_t>(length) - 1);
    const std::ptrdiff_t folded = (at % period + period) % period;
    return static_cast<std::size_t>(std::min(folded, period - folded));
}

// Fourth differences down a row of `picture` - `like`, mirrored at both ends: [width + 2 * kReach, 3].
void differences_down(const float* picture, const float* like, std::size_t height, std::size_t width, std::size_t row,
                      float* found) {
    const std::size_t length = width * kColours;
    const auto at = static_cast<std::ptrdiff_t>(row);
    std::size_t rows[5];
    for (std::ptrdiff_t i = 0; i < 5; ++i) rows[i] = mirrored(at + i - 2, height) * length;
    const float *p0 = picture + rows[0], *p1 = picture + rows[1], *p2 = picture + rows[2], *p3 = picture + rows[3],
                *p4 = picture + rows[4], *q0 = like + rows[0], *q1 = like + rows[1], *q2 = like + rows[2],
                *q3 = like + rows[3], *q4 = like + rows[4];
    float* inner = found + kReach * kColours;
    for (std::size_t i = 0; i < length; ++i) {
        const float far = (p0[i] - q0[i]) + (p4[i] - q4[i]), near = (p1[i] - q1[i]) + (p3[i] - q3[i]);
        inner[i] = far - 4.0f * near + 6.0f * (p2[i] - q2[i]);
    }
    for (std::ptrdiff_t i = 1; i <= static_cast<std::ptrdiff_t>(kReach); ++i) {
        const std::size_t left = mirrored(-i, width) * kColours;
        const std::size_t right = mirrored(static_cast<std::ptrdiff_t>(width) - 1 + i, width) * kColours;
        std::copy_n(inner + left, kColours, inner - i * static_cast<std::ptrdiff_t>(kColours));
        std::copy_n(inner + right, kColours, inner + length + (i - 1) * static_cast<std::ptrdiff_t>(kColours));
    }
}

}  // namespace

void remove_lattice(const float* picture, const float* like, std::size_t height, std::size_t width, std::size_t cell,
                    const Inside& inside) {
    Cells cells{(height / 2 + cell - 1) / cell, (width / 2 + cell - 1) / cell, cell, {}};
    cells.means.assign(cells.rows * cells.columns * kPhases, 0.0f);
    parallel_for(cells.rows, 1, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row) measure(picture, like, height, width, row, cells);
    });
    const auto wide = spread_along(cells, width);
    const std::size_t length = width * kColours, most = inside.width * kColours;
    parallel_for(inside.height, 32, 1, [&](std::size_t first, std::size_t last) {
        std::vector<float> across(length + 2 * kReach * kColours);
        for (std::size_t row = first; row < last; ++row) {
            const std::size_t whole = row + inside.margin, skipped = inside.margin * kColours;
            const Between down = between(whole / 2, cells.rows, cell);
            const float* upper = &wide[(2 * down.first + whole % 2) * length + skipped];
            const float* lower = &wide[(2 * down.second + whole % 2) * length + skipped];
            const float* from = picture + whole * length + skipped;
            differences_down(picture, like, height, width, whole, across.data());
            const float* d = across.data() + skipped;
            float* to = inside.target + row * most;
            for (std::size_t i = 0; i < most; ++i) {
                const float checkers = (d[i] + d[i + 12]) - 4.0f * (d[i + 3] + d[i + 9]) + 6.0f * d[i + 6];
                const float value = from[i] - (upper[i] + down.share * (lower[i] - upper[i])) - kScale * checkers;
                to[i] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
            }
        }
    });
}

}  // namespace fairlead::pictures

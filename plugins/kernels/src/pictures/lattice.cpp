#include "fairlead/pictures/lattice.hpp"

#include <algorithm>
#include <vector>

#include "fairlead/thread_pool.hpp"

namespace fairlead::pictures {
namespace {

// Numbers of a place: (row, column, colour) of 2 x 2 pixels.
constexpr std::size_t kPhases = 12, kColours = 3;

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

// Of one row of cells: sums of both pixel rows of each place, then means without what all phases share.
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
            float all = 0;
            for (std::size_t phase = 0; phase < 4; ++phase) all += mean[phase * kColours + colour];
            for (std::size_t phase = 0; phase < 4; ++phase)
                mean[phase * kColours + colour] = (mean[phase * kColours + colour] - all / 4) * scale;
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
        for (std::size_t row = first; row < last; ++row) {
            const std::size_t whole = row + inside.margin, skipped = inside.margin * kColours;
            const Between down = between(whole / 2, cells.rows, cell);
            const float* upper = &wide[(2 * down.first + whole % 2) * length + skipped];
            const float* lower = &wide[(2 * down.second + whole % 2) * length + skipped];
            const float* from = picture + whole * length + skipped;
            float* to = inside.target + row * most;
            for (std::size_t i = 0; i < most; ++i) {
                const float value = from[i] - (upper[i] + down.share * (lower[i] - upper[i]));
                to[i] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
            }
        }
    });
}

}  // namespace fairlead::pictures

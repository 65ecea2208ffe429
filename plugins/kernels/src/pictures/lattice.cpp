#include "fairlead/pictures/lattice.hpp"

#include <algorithm>
#include <cmath>
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
    std::vector<float> sums(width / 2 * kPhases, 0.0f);
    for (std::size_t place = first; place < last; ++place) {
        for (std::size_t down = 0; down < 2; ++down) {
            const std::size_t start = (2 * place + down) * width * kColours;
            // A pixel row's numbers are those of places side by side, six each.
            for (std::size_t column = 0; column < width / 2; ++column)
                for (std::size_t i = 0; i < 6; ++i)
                    sums[column * kPhases + 6 * down + i] +=
                        picture[start + column * 6 + i] - like[start + column * 6 + i];
        }
    }
    for (std::size_t at = 0; at < cells.columns; ++at) {
        const std::size_t left = at * cells.cell, right = std::min(width / 2, left + cells.cell);
        float* mean = &cells.means[(row * cells.columns + at) * kPhases];
        for (std::size_t column = left; column < right; ++column)
            for (std::size_t i = 0; i < kPhases; ++i) mean[i] += sums[column * kPhases + i];
        const float scale = 1.0f / static_cast<float>((last - first) * (right - left));
        for (std::size_t colour = 0; colour < kColours; ++colour) {
            float all = 0;
            for (std::size_t phase = 0; phase < 4; ++phase) all += mean[phase * kColours + colour];
            for (std::size_t phase = 0; phase < 4; ++phase)
                mean[phase * kColours + colour] = (mean[phase * kColours + colour] - all / 4) * scale;
        }
    }
}

void take_away(float* picture, std::size_t width, std::size_t place, const Cells& cells,
               const std::vector<Between>& across, std::vector<float>& line) {
    const Between down = between(place, cells.rows, cells.cell);
    const float* upper = &cells.means[down.first * cells.columns * kPhases];
    const float* lower = &cells.means[down.second * cells.columns * kPhases];
    for (std::size_t i = 0; i < line.size(); ++i) line[i] = upper[i] + down.share * (lower[i] - upper[i]);
    float* above = picture + 2 * place * width * kColours;
    float* below = above + width * kColours;
    for (std::size_t column = 0; column < width / 2; ++column) {
        const Between& at = across[column];
        const float *left = &line[at.first * kPhases], *right = &line[at.second * kPhases];
        for (std::size_t i = 0; i < 6; ++i) {
            float& first = above[column * 6 + i];
            float& second = below[column * 6 + i];
            first = std::clamp(first - (left[i] + at.share * (right[i] - left[i])), 0.0f, 1.0f);
            second = std::clamp(second - (left[6 + i] + at.share * (right[6 + i] - left[6 + i])), 0.0f, 1.0f);
        }
    }
}

}  // namespace

void remove_lattice(float* picture, const float* like, std::size_t height, std::size_t width, std::size_t cell) {
    Cells cells{(height / 2 + cell - 1) / cell, (width / 2 + cell - 1) / cell, cell, {}};
    cells.means.assign(cells.rows * cells.columns * kPhases, 0.0f);
    parallel_for(cells.rows, 1, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t row = first; row < last; ++row) measure(picture, like, height, width, row, cells);
    });
    std::vector<Between> across(width / 2);
    for (std::size_t column = 0; column < across.size(); ++column)
        across[column] = between(column, cells.columns, cell);
    parallel_for(height / 2, 16, 1, [&](std::size_t first, std::size_t last) {
        std::vector<float> line(cells.columns * kPhases);
        for (std::size_t place = first; place < last; ++place)
            take_away(picture, width, place, cells, across, line);
    });
}

}  // namespace fairlead::pictures

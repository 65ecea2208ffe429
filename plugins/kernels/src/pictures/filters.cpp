#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "fairlead/pictures/feature_map.hpp"

namespace fairlead::pictures {
namespace {

// To bfloat16, ties to even; numbers are finite.
std::uint16_t rounded(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
}

// Of a filter's row of `run` numbers, where the k-th goes among its group's, which lie in words of `together` numbers.
std::size_t place(std::size_t k, std::size_t filter, std::size_t together) {
    return (k / together * kGroup + filter) * together + k % together;
}

template <class T, class Turn>
void lay(const Packing& work, std::size_t output, std::size_t together, Turn turn) {
    const std::size_t length = work.side * work.channels, run = work.run();
    const float* from = work.weights + output * work.side * length;
    T* to = static_cast<T*>(work.filters) + output / kGroup * work.side * run * kGroup;
    for (std::size_t down = 0; down < work.side; ++down)
        for (std::size_t k = 0; k < length; ++k)
            to[down * run * kGroup + place(k, output % kGroup, together)] = turn(from[down * length + k]);
}

void lay_bytes(const Packing& work, std::size_t output) {
    const std::size_t count = work.side * work.side * work.channels;
    const float* from = work.weights + output * count;
    float most = 0;
    for (std::size_t i = 0; i < count; ++i) most = std::max(most, std::abs(from[i]));
    const float scale = most > 0 ? most / 127 : 1.0f;
    float sum = 0;
    lay<std::int8_t>(work, output, 4, [&](float value) {
        const float whole = std::nearbyint(value / scale);
        sum += whole;
        return static_cast<std::int8_t>(whole);
    });
    work.scales[output] = scale;
    work.sums[output] = sum;
}

}  // namespace

void pack(const Packing& work) {
    const std::size_t bytes = static_cast<std::size_t>(work.format);
    std::memset(work.filters, 0, work.filled() * work.side * work.run() * bytes);
    if (work.format == Format::bytes) {
        std::fill_n(work.scales, work.filled(), 0.0f);
        std::fill_n(work.sums, work.filled(), 0.0f);
    }
    for (std::size_t output = 0; output < work.outputs; ++output) {
        if (work.format == Format::bytes) {
            lay_bytes(work, output);
        } else if (work.format == Format::halves) {
            lay<std::uint16_t>(work, output, 2, rounded);
        } else {
            lay<float>(work, output, 1, [](float value) { return value; });
        }
    }
}

}  // namespace fairlead::pictures

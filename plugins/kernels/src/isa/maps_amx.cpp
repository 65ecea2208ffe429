#include <immintrin.h>

#include <algorithm>

#include "kernels/map_lanes.hpp"

namespace fairlead::pictures {
namespace {

// Two tiles of 16 pixels by two of 16 filters: four products for four loads.
constexpr std::size_t kPixels = 32, kFilters = 32;

// All eight tiles: 16 rows of 64 bytes.
struct alignas(64) TileConfig {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Sums of 32 pixels by 16 or 32 filters -> sums [32, 32].
template <bool two>
void block(const Convolution& work, const std::uint16_t* source, const std::uint16_t* filters, float* sums) {
    const std::size_t chunks = (work.run() + 31) / 32, step = work.stride * work.source.channels;
    const std::size_t bytes = step * sizeof(std::uint16_t), next = work.side * chunks * 32 * kGroup;
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (std::size_t down = 0; down < work.side; ++down, source += work.source.pitch()) {
        for (std::size_t chunk = 0; chunk < chunks; ++chunk, filters += 32 * kGroup) {
            _tile_loadd(4, source + 32 * chunk, bytes);
            _tile_loadd(5, source + 32 * chunk + 16 * step, bytes);
            _tile_loadd(6, filters, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
            if constexpr (two) {
                _tile_loadd(7, filters + next, 64);
                _tile_dpbf16ps(2, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    constexpr std::size_t kPitch = kFilters * sizeof(float);
    _tile_stored(0, sums, kPitch);
    _tile_stored(1, sums + 16 * kFilters, kPitch);
    if constexpr (two) {
        _tile_stored(2, sums + 16, kPitch);
        _tile_stored(3, sums + 16 * kFilters + 16, kPitch);
    }
}

}  // namespace

void convolve_amx(const Convolution& work, std::size_t first, std::size_t last) {
    const TileConfig config;
    _tile_loadconfig(&config);
    alignas(64) float sums[kPixels * kFilters];
    const FeatureMap& map = work.source;
    const auto* source = static_cast<const std::uint16_t*>(map.data);
    const std::size_t packed = (work.run() + 31) / 32 * 32 * kGroup * work.side;
    for (std::size_t row = first; row < last; ++row) {
        for (std::size_t channel = 0; channel < work.outputs; channel += kFilters) {
            const auto* filters = static_cast<const std::uint16_t*>(work.filters) + channel / kGroup * packed;
            const bool two = channel + kGroup < work.outputs;
            for (std::size_t column = 0; column < work.width; column += kPixels) {
                const auto* from = source + map.at(row * work.stride, column * work.stride, work.side / 2);
                two ? block<true>(work, from, filters, sums) : block<false>(work, from, filters, sums);
                const std::size_t pixels = std::min(kPixels, work.width - column);
                finish(work, sums, kFilters, pixels, row, column, channel);
                if (two) finish(work, sums + kGroup, kFilters, pixels, row, column, channel + kGroup);
            }
        }
    }
    _tile_release();
}

}  // namespace fairlead::pictures

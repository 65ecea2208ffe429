#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fairlead/pictures/feature_map.hpp"

// Sixteen channels at once; compilers cut them into an ISA's registers.
namespace fairlead::pictures {
namespace {

using Lanes = float __attribute__((vector_size(64)));
using Words = std::uint32_t __attribute__((vector_size(64)));
using Shorts = std::uint16_t __attribute__((vector_size(32)));

inline Lanes load(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

inline Lanes load(const std::uint16_t* from) {
    Shorts shorts;
    std::memcpy(&shorts, from, sizeof shorts);
    return reinterpret_cast<Lanes>(__builtin_convertvector(shorts, Words) << 16);
}

inline void save(const Lanes& lanes, float* to) { std::memcpy(to, &lanes, sizeof lanes); }

// To the nearest, ties to even; numbers are finite.
inline void save(const Lanes& lanes, std::uint16_t* to) {
    const Words words = reinterpret_cast<Words>(lanes);
    const Shorts shorts = __builtin_convertvector((words + 0x7fffu + ((words >> 16) & 1u)) >> 16, Shorts);
    std::memcpy(to, &shorts, sizeof shorts);
}

inline Lanes load(const FeatureMap& map, std::size_t at) {
    return map.format == Format::halves ? load(static_cast<const std::uint16_t*>(map.data) + at)
                                        : load(static_cast<const float*>(map.data) + at);
}

inline void save(const Lanes& lanes, const FeatureMap& map, std::size_t at) {
    if (map.format == Format::halves) {
        save(lanes, static_cast<std::uint16_t*>(map.data) + at);
    } else {
        save(lanes, static_cast<float*>(map.data) + at);
    }
}

inline Lanes rectified(const Lanes& lanes) { return lanes > Lanes{} ? lanes : Lanes{}; }

// Gives the result of a pixel's sixteen channels, from `channel` on, where it goes.
inline void finish(const Convolution& work, Lanes value, std::size_t row, std::size_t column, std::size_t channel) {
    value += load(work.bias + channel);
    if (work.drawn != nullptr) {
        for (std::size_t down = 0; down < 2; ++down) {
            const std::size_t at = ((2 * row + down) * 2 * work.width + 2 * column) * 3;
            for (std::size_t i = 0; i < 6; ++i) work.drawn[at + i] = work.under[at + i] + value[6 * down + i];
        }
        return;
    }
    const std::size_t growth = work.growth;
    for (std::size_t v = row * growth; v < (row + 1) * growth; ++v) {
        for (std::size_t u = column * growth; u < (column + 1) * growth; ++u) {
            Lanes sum = value;
            if (work.skip != nullptr) sum += load(*work.skip, work.skip->at(v, u) + channel);
            if (work.kept != nullptr) save(sum, *work.kept, work.kept->at(v, u) + channel);
            if (work.rectified != nullptr)
                save(rectified(sum), *work.rectified, work.rectified->at(v, u) + channel);
        }
    }
}

}  // namespace
}  // namespace fairlead::pictures

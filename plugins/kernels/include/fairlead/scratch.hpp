#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace fairlead {

// Below this many weights a hand-over to another thread costs more than it saves.
inline constexpr std::size_t kWeightsPerChunk = 48 * 1024;

inline std::size_t grain(std::size_t weights_per_item) {
    return std::max<std::size_t>(1, kWeightsPerChunk / std::max<std::size_t>(1, weights_per_item));
}

// Floats of the calling thread; the next call may move them.
inline float* scratch(std::size_t count) {
    thread_local std::vector<float> buffer;
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
}

}  // namespace fairlead

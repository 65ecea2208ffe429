#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::vectors {

// Small numbers of up to 15 bits in planes of 8, 4, 2 and 1 bits, the widest plane the lowest. A plane of w bits has
// ceil(n w / 8) bytes; byte j holds the numbers j, j + bytes, j + 2 bytes, ...: loops over bytes are loops of vectors.
inline constexpr std::uint32_t kPlanes[] = {8, 4, 2, 1};

// Of 4 bit codes, the largest coordinate, and how many times as much that counts which refines it.
inline constexpr std::int32_t kMostNibble = 7, kEdge = 4;

constexpr std::size_t packed_bytes(std::size_t count, std::uint32_t bits) {
    std::size_t sum = 0;
    for (const std::uint32_t width : kPlanes) {
        if ((bits & width) != 0) sum += (count * width + 7) / 8;
    }
    return sum;
}

inline void pack(const std::uint16_t* values, std::size_t count, std::uint32_t bits, std::uint8_t* out) {
    std::uint32_t shift = 0;
    for (const std::uint32_t width : kPlanes) {
        if ((bits & width) == 0) continue;
        const std::size_t bytes = (count * width + 7) / 8;
        for (std::size_t j = 0; j < bytes; ++j) out[j] = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t part = values[i] >> shift & ((1U << width) - 1);
            out[i % bytes] |= static_cast<std::uint8_t>(part << (i / bytes * width));
        }
        out += bytes;
        shift += width;
    }
}

}  // namespace fairlead::vectors

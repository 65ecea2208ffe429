#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fairlead/vectors/crc32c.hpp"

namespace fairlead::wire {

// Frames of a memory node's protocol, little-endian both ways: a header, then its payload. A read's payload is `count`
// ranges; its answer is their bytes, one behind the other. A write's is one range and the bytes. Control is JSON.
static_assert(std::endian::native == std::endian::little);
inline constexpr std::uint32_t kMagic = 0x31544c46;  // "FLT1"
inline constexpr std::uint32_t kMostPayload = 16 << 20;
inline constexpr std::uint32_t kMostControl = 64 << 10;
inline constexpr std::uint32_t kMostRanges = 4096;

enum Operation : std::uint16_t { kRead = 1, kWrite = 2, kControl = 3 };
enum Status : std::uint16_t { kDone = 0, kRefused = 1 };

struct Header {
    std::uint32_t magic;
    std::uint16_t operation;
    std::uint16_t status;
    std::uint64_t id;
    std::uint32_t count;
    std::uint32_t bytes;        // of the payload
    std::uint32_t payload_crc;  // CRC-32C
    std::uint32_t header_crc;   // of everything above
};
static_assert(sizeof(Header) == 32);

struct Range {
    std::uint64_t offset;
    std::uint64_t length;
};

inline Header seal(Header header) {
    header.magic = kMagic;
    header.header_crc = crc32c(&header, offsetof(Header, header_crc));
    return header;
}

inline bool sound(const Header& header) {
    return header.magic == kMagic && header.header_crc == crc32c(&header, offsetof(Header, header_crc)) &&
           header.bytes <= kMostPayload;
}

inline void append(std::vector<std::byte>& out, const void* bytes, std::size_t count) {
    const auto* at = static_cast<const std::byte*>(bytes);
    out.insert(out.end(), at, at + count);
}

}  // namespace fairlead::wire

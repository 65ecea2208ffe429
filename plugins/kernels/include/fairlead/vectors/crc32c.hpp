#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead {

// CRC-32C (Castagnoli, RFC 3720 B.4) of bytes, continued from `before`; by the processor's instruction where it has one.
std::uint32_t crc32c(const void* bytes, std::size_t count, std::uint32_t before = 0);

}  // namespace fairlead

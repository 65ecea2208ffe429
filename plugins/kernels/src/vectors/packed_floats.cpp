#include "fairlead/vectors/packed_floats.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "fairlead/vectors/list_kernels.hpp"

namespace fairlead::vectors {
namespace {

std::uint32_t bits_of(const std::byte* row, std::size_t i) {
    std::uint32_t bits;
    std::memcpy(&bits, row + 4 * i, sizeof(bits));
    return bits;
}

}  // namespace

bool PackedFloats::pack(const std::byte* row, std::uint8_t* out) const {
    std::memset(out, 0, stride());
    std::uint32_t top = 0;
    for (std::size_t i = 0; i < dim_; ++i) top = std::max(top, bits_of(row, i) >> 23 & 255);
    std::size_t apart = 0;
    for (std::size_t i = 0; i < dim_; ++i) {
        const std::uint32_t exponent = bits_of(row, i) >> 23 & 255;
        apart += exponent != 0 && exponent + kWidest < top ? 1 : 0;
    }
    if (top == 255 || apart > stride() - far_at()) {
        out[top_at()] = kSpilled;
        return false;
    }
    std::uint8_t *high = out + 2 * dim_, *nibbles = out + nibbles_at(), *flags = out + bits_at(), *far = out + far_at();
    for (std::size_t i = 0; i < dim_; ++i) {
        const std::uint32_t bits = bits_of(row, i), exponent = bits >> 23 & 255;
        const std::uint32_t code = exponent == 0 ? kZero : std::min(top - exponent, kFar);
        if (code == kFar) *far++ = static_cast<std::uint8_t>(exponent);
        const auto low = static_cast<std::uint16_t>(bits);
        std::memcpy(out + 2 * i, &low, sizeof(low));
        high[i] = static_cast<std::uint8_t>((bits >> 24 & 128) | (bits >> 16 & 127));
        nibbles[i / 2] |= static_cast<std::uint8_t>((code & 15) << i % 2 * 4);
        flags[i / 8] |= static_cast<std::uint8_t>((code >> 4) << i % 8);
    }
    out[top_at()] = static_cast<std::uint8_t>(top);
    return true;
}

void PackedFloats::unpack(const std::uint8_t* packed, std::byte* row) const {
    const PackedRow planes{packed, packed + 2 * dim_, packed + nibbles_at(), packed + bits_at(), packed[top_at()],
                           packed + far_at(), packed + stride()};
    list_kernels().unpack(planes, dim_, row);
}

void SpilledRows::keep(std::uint64_t row, const std::byte* bytes, std::size_t count) {
    const std::unique_lock lock(mutex_);
    rows_[row].assign(bytes, bytes + count);
    count_.store(rows_.size(), std::memory_order_release);
}

void SpilledRows::forget(std::uint64_t row) {
    if (size() == 0) return;
    const std::unique_lock lock(mutex_);
    rows_.erase(row);
    count_.store(rows_.size(), std::memory_order_release);
}

void SpilledRows::copy(std::uint64_t row, std::byte* into, std::size_t count) const {
    const std::shared_lock lock(mutex_);
    const auto found = rows_.find(row);
    if (found == rows_.end() || found->second.size() != count) {
        std::memset(into, 0, count);
    } else {
        std::memcpy(into, found->second.data(), count);
    }
}

void pack_rows(const PackedFloats& packing, SpilledRows& spilled, std::uint64_t first, const std::byte* rows,
               std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::byte* row = rows + i * packing.row_bytes();
        if (packing.pack(row, out + i * packing.stride())) {
            spilled.forget(first + i);
        } else {
            spilled.keep(first + i, row, packing.row_bytes());
        }
    }
}

}  // namespace fairlead::vectors

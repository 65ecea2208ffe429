#include "fairlead/vectors/crc32c.hpp"

#include <array>
#include <cstring>

namespace fairlead {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
        table[i] = value;
    }
    return table;
}

constexpr auto kTable = make_table();

std::uint32_t by_table(const std::uint8_t* bytes, std::size_t count, std::uint32_t crc) {
    for (std::size_t i = 0; i < count; ++i) crc = (crc >> 8) ^ kTable[(crc ^ bytes[i]) & 0xff];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(const std::uint8_t* bytes, std::size_t count, std::uint32_t crc) {
    std::uint64_t wide = crc;
    for (; count >= 8; bytes += 8, count -= 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = static_cast<std::uint32_t>(wide);
    for (; count > 0; ++bytes, --count) crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
#endif

}  // namespace

std::uint32_t crc32c(const void* bytes, std::size_t count, std::uint32_t before) {
    const auto* at = static_cast<const std::uint8_t*>(bytes);
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2");
    if (has_instruction) return ~by_instruction(at, count, ~before);
#endif
    return ~by_table(at, count, ~before);
}

}  // namespace fairlead

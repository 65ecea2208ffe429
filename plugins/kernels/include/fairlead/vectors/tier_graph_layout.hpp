#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fairlead::vectors {

// Where a graph's records lie in a region: nothing is padded to blocks, and an id of a neighbour takes as many bits as
// vertices need. `group` 1: a vertex's edges, then its vector, so that one read has both. Larger: the edges of so many
// vertices, then their vectors, for vectors so long that a walk had better not read them.
struct TierGraphLayout {
    std::uint32_t degree = 32;
    std::uint32_t id_bits = 32;  // 1..31
    std::uint32_t group = 1;
    std::size_t vector_bytes = 0;

    bool beside() const { return group == 1; }
    // Whole words, so that vectors behind them lie as they would alone.
    std::size_t edge_bytes() const { return (std::size_t{degree} * id_bits + 31) / 32 * 4; }
    std::size_t record_bytes() const { return edge_bytes() + vector_bytes; }
    // Of a vertex on a walk.
    std::size_t read_bytes() const { return beside() ? record_bytes() : edge_bytes(); }
    std::uint64_t edges_at(std::uint32_t vertex) const { return group_at(vertex) + vertex % group * edge_bytes(); }
    std::uint64_t vector_at(std::uint32_t vertex) const {
        return group_at(vertex) + group * edge_bytes() + vertex % group * vector_bytes;
    }
    // Whole groups.
    std::uint64_t bytes(std::uint64_t vertices) const { return (vertices + group - 1) / group * group * record_bytes(); }
    // Vertices that a region has room for and an id can name.
    std::uint64_t most(std::uint64_t region) const {
        const std::uint64_t fit = region / (group * record_bytes()) * group, named = std::uint64_t{1} << id_bits;
        return fit < named ? fit : named;
    }

private:
    std::uint64_t group_at(std::uint32_t vertex) const { return std::uint64_t{vertex / group} * group * record_bytes(); }
};

// Numbers of `bits` bits one behind the other, the lowest bit first; out holds whole words of 32 bits.
inline void pack_ids(const std::uint32_t* ids, std::size_t count, std::uint32_t bits, std::byte* out) {
    std::uint64_t open = 0;
    std::uint32_t filled = 0;
    for (std::size_t i = 0; i < count; ++i) {
        open |= std::uint64_t{ids[i]} << filled;
        for (filled += bits; filled >= 32; filled -= 32, open >>= 32, out += 4) {
            const auto word = static_cast<std::uint32_t>(open);
            std::memcpy(out, &word, sizeof word);
        }
    }
    const auto word = static_cast<std::uint32_t>(open);
    if (filled > 0) std::memcpy(out, &word, sizeof word);
}

inline void unpack_ids(const std::byte* packed, std::size_t count, std::uint32_t bits, std::uint32_t* ids) {
    const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
    std::uint64_t open = 0;
    std::uint32_t filled = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (filled < bits) {
            std::uint32_t word;
            std::memcpy(&word, packed, sizeof word);
            packed += sizeof word;
            open |= std::uint64_t{word} << filled;
            filled += 32;
        }
        ids[i] = static_cast<std::uint32_t>(open & mask);
        open >>= bits;
        filled -= bits;
    }
}

}  // namespace fairlead::vectors

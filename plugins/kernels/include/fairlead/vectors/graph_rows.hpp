#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "fairlead/vectors/huge_buffer.hpp"
#include "fairlead/vectors/space.hpp"
#include "fairlead/vectors/walk_codes.hpp"

namespace fairlead::vectors {

// What orders the last candidates of a search and decides which edges a graph keeps.
class GraphRows {
public:
    virtual ~GraphRows() = default;
    virtual std::size_t row_bytes() const = 0;
    virtual void resize(std::size_t rows) = 0;
    virtual std::byte* row(std::uint32_t id) const = 0;
    // The further coordinate of WalkEncoder.
    virtual void set_more(std::uint32_t, float) {}
    virtual float more(std::uint32_t) const { return 0.0F; }
    // Bytes at row().
    virtual std::size_t stride() const = 0;
    // Distances of the space's metric.
    virtual void to_query(const std::byte* query, const std::uint32_t* ids, std::size_t count, float* out) const = 0;
    // Squared Euclidean distances between stored vectors, or what grows with them.
    virtual void between(std::uint32_t id, const std::uint32_t* ids, std::size_t count, float* out) const = 0;
    virtual void prefetch(std::uint32_t id) const = 0;
};

// The vectors themselves; a query is one of the space.
std::unique_ptr<GraphRows> exact_rows(const Space& space);
// Codes of all coordinates: the walk's, and rows with more bits; a query is what encode_queries made of it. Stored vectors
// are compared by the walk's codes alone.
std::unique_ptr<GraphRows> code_rows(const WalkEncoder& encoder, const HugeBuffer& codes);
// The walk's codes alone, for comparing stored vectors with each other.
std::unique_ptr<GraphRows> leading_rows(const WalkEncoder& encoder, const HugeBuffer& codes);

}  // namespace fairlead::vectors

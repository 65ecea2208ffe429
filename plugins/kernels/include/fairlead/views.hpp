#pragma once

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"

namespace fairlead {

// Columns that share one float16 scale.
inline constexpr std::size_t kGroup = 32;

// A borrowed row-major int8 matrix [rows, columns] with float16 scales [rows, columns / kGroup].
struct Q8View {
    const std::int8_t* q = nullptr;
    const std::uint16_t* scale = nullptr;
    std::size_t rows = 0;
    std::size_t columns = 0;

    FAIRLEAD_INLINE std::size_t groups() const { return columns / kGroup; }
    FAIRLEAD_INLINE const std::int8_t* row(std::size_t index) const { return q + index * columns; }
    FAIRLEAD_INLINE const std::uint16_t* row_scale(std::size_t index) const {
        return scale + index * (columns / kGroup);
    }
};

// Borrowed key or value pages of one layer: [pages, page_size, kv_heads, head_dim] of T. Entries of int8 stand for
// themselves times a scale of [pages, page_size, kv_heads]; float32 entries have none.
template <class T>
struct Pages {
    T* data = nullptr;
    std::size_t page_size = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    float* scale = nullptr;

    // The number of a position's slot, counted over all pages.
    FAIRLEAD_INLINE std::size_t slot(const std::int32_t* page_table, std::size_t position) const {
        return static_cast<std::size_t>(page_table[position / page_size]) * page_size + position % page_size;
    }
    FAIRLEAD_INLINE T* at(const std::int32_t* page_table, std::size_t position) const {
        return data + slot(page_table, position) * kv_heads * head_dim;
    }
    FAIRLEAD_INLINE float* scale_at(const std::int32_t* page_table, std::size_t position) const {
        return scale + slot(page_table, position) * kv_heads;
    }
};
using PageView = Pages<float>;
using Int8PageView = Pages<std::int8_t>;

// Queries [tokens, heads, head_dim] that attend causally to a page table; token t sees first_length + t positions.
template <class T>
struct AttentionOver {
    const float* query = nullptr;
    Pages<T> keys;
    Pages<T> values;
    const std::int32_t* page_table = nullptr;
    std::size_t heads = 0;
    std::size_t first_length = 0;
    float scale = 1.0F;
    float* out = nullptr;
};
using AttentionTask = AttentionOver<float>;
using Int8AttentionTask = AttentionOver<std::int8_t>;

// The gate's function in a gated feed-forward layer: out = down(gate_function(gate x) * up_function(up x)).
enum class Activation : std::int32_t {
    drelu = 0,   // max(0, gate) * max(0, up), TurboSparse
    relu = 1,    // max(0, gate) * up, ReGLU
    swiglu = 2,  // silu(gate) * up
    geglu = 3,   // gelu_tanh(gate) * up
};

}  // namespace fairlead

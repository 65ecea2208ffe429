#include "fairlead/operators.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "fairlead/half.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// The float16 nearest to largest / 127, or the next one where the nearest would clip the largest value.
std::uint16_t scale_for(float largest) {
    std::uint16_t half = magnitude_to_half(largest / 127.0F);
    if (half_to_float(half) * 127.5F < largest) ++half;
    return half;
}

template <class T>
void attend_with(void (*kernel)(const AttentionOver<T>&, std::size_t, std::size_t, float*),
                 const AttentionOver<T>& task, std::size_t tokens) {
    const std::size_t longest = task.first_length + tokens - 1;
    const std::size_t per_item = longest * task.keys.head_dim * 2;
    parallel_for(tokens * task.heads, grain(per_item), 1, [&](std::size_t begin, std::size_t end) {
        kernel(task, begin, end, scratch(longest));
    });
}

}  // namespace

void multiply_selected(const KernelTable& k, const Q8View& matrix, const std::int32_t* rows, std::size_t count,
                       const float* x, float* out) {
    parallel_for(count, grain(matrix.columns), 4, [&](std::size_t begin, std::size_t end) {
        k.dot_rows(matrix, rows, begin, end, x, out);
    });
}

void multiply(const KernelTable& k, const Q8View& matrix, const float* x, std::size_t batch, float* out) {
    if (batch == 1) {
        multiply_selected(k, matrix, nullptr, matrix.rows, x, out);
        return;
    }
    parallel_for(matrix.rows, grain(matrix.columns * batch), kScratchRows, [&](std::size_t begin, std::size_t end) {
        k.multiply_rows(matrix, begin, end, x, batch, out, scratch(kScratchRows * matrix.columns));
    });
}

void multiply_floats(const KernelTable& k, const float* matrix, std::size_t rows, std::size_t columns, const float* x,
                     std::size_t batch, float* out) {
    // Chunks that whole tiles of every ISA fill.
    parallel_for(rows, grain(columns * batch), 12, [&](std::size_t begin, std::size_t end) {
        k.multiply_floats(matrix, columns, begin, end, x, batch, out, rows);
    });
}

void sum_selected(const KernelTable& k, const Q8View& matrix, const std::int32_t* rows, const float* weight,
                  std::size_t count, float* y) {
    parallel_for(matrix.groups(), grain(count * kGroup), 4, [&](std::size_t begin, std::size_t end) {
        k.sum_rows(matrix, rows, weight, count, begin, end, y);
    });
}

void sum_batch(const KernelTable& k, const Q8View& matrix, const float* weight, std::size_t batch, float* out) {
    parallel_for(matrix.groups(), grain(matrix.rows * kGroup * batch), 2, [&](std::size_t begin, std::size_t end) {
        k.sum_rows_batch(matrix, weight, batch, begin, end, out);
    });
}

void attend(const KernelTable& k, const AttentionTask& task, std::size_t tokens) {
    attend_with(k.attend, task, tokens);
}

void attend(const KernelTable& k, const Int8AttentionTask& task, std::size_t tokens) {
    attend_with(k.attend_int8, task, tokens);
}

void quantize_heads(const KernelTable& k, const float* x, std::size_t kv_heads, std::size_t head_dim, std::int8_t* q,
                    float* scale) {
    for (std::size_t h = 0; h < kv_heads; ++h) {
        scale[h] = k.quantize_head(x + h * head_dim, head_dim, q + h * head_dim);
    }
}

void quantize(const KernelTable& k, const float* x, std::size_t rows, std::size_t columns, std::int8_t* q,
              std::uint16_t* scale) {
    const std::size_t groups = rows * (columns / kGroup);
    for (std::size_t i = 0; i < groups * kGroup; ++i) {
        if (!std::isfinite(x[i])) {
            throw std::invalid_argument("matrix: value " + std::to_string(i) + " is not finite");
        }
    }
    for (std::size_t g = 0; g < groups; ++g) {
        scale[g] = scale_for(k.largest_magnitude(x + g * kGroup, kGroup));
        if (scale[g] >= 0x7C00U) {
            throw std::invalid_argument("matrix: group " + std::to_string(g) +
                                        " has a magnitude above 127 * 65504, whose scale does not fit a float16");
        }
        k.quantize_group(x + g * kGroup, half_to_float(scale[g]), q + g * kGroup);
    }
}

}  // namespace fairlead

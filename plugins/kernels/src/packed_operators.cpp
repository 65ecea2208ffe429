#include "fairlead/packed_operators.hpp"

#include <algorithm>

#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Rows that one dot-product tile takes.
constexpr std::size_t kTileRows = 4;

}  // namespace

void quantize_input(const KernelTable& k, const float* x, std::size_t batch, std::size_t columns,
                    QuantizedInput& input) {
    input.resize(batch, columns);
    const InputView& view = input.view();
    parallel_for(batch, grain(4 * columns), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) k.quantize_input(x + b * columns, columns, view, b);
    });
}

void multiply_packed(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, std::size_t count,
                     const QuantizedInput& input, float* out, std::size_t out_stride) {
    const std::size_t batch = input.batch();
    const InputView& x = input.view();
    parallel_for(count, grain(matrix.columns * batch), kTileRows, [&](std::size_t begin, std::size_t end) {
        if (batch == 1) {
            k.dot_rows_packed(matrix, rows, begin, end, x, out);
        } else {
            k.multiply_rows_packed(matrix, rows, begin, end, x, batch, out, out_stride);
        }
    });
}

void sum_packed(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, const float* weight,
                std::size_t count, float* y, bool add) {
    // As many neighbouring columns a thread as there are: a row is then read in few, long pieces.
    const std::size_t threads = ThreadPool::instance().threads();
    const std::size_t share = std::max(grain(count * kUnitFloats), (matrix.units() + threads - 1) / threads);
    parallel_for(matrix.units(), share, 1, [&](std::size_t begin, std::size_t end) {
        k.sum_rows_packed(matrix, rows, weight, count, begin, end, add, y, scratch((end - begin) * kUnitFloats));
    });
}

void sum_packed_batch(const KernelTable& k, const PackedView& matrix, const std::int32_t* rows, const float* weight,
                      std::size_t count, std::size_t batch, float* out) {
    parallel_for(matrix.units(), grain(count * kUnitFloats * batch), 1, [&](std::size_t begin, std::size_t end) {
        k.sum_rows_packed_batch(matrix, rows, weight, count, batch, begin, end, out, scratch(batch * kUnitFloats));
    });
}

void dequantize_packed(const KernelTable& k, const PackedView& matrix, std::size_t begin, std::size_t end,
                       float* out) {
    const float one = 1.0F;
    float* sums = scratch(matrix.units() * kUnitFloats);
    for (std::size_t row = begin; row < end; ++row) {
        const auto index = static_cast<std::int32_t>(row);
        k.sum_rows_packed(matrix, &index, &one, 1, 0, matrix.units(), false, out + (row - begin) * matrix.columns, sums);
    }
}

}  // namespace fairlead

#include "fairlead/weight.hpp"

#include <algorithm>

#include "fairlead/packed_operators.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

void multiply_range(const KernelTable& k, const Q8View& matrix, WeightInput& input, std::size_t begin,
                    std::size_t end, float* out) {
    if (input.batch() == 1) {
        k.dot_rows(matrix, nullptr, begin, end, input.floats(), out);
    } else {
        float* rows = scratch(kScratchRows * matrix.columns);
        k.multiply_rows(matrix, begin, end, input.floats(), input.batch(), out, rows);
    }
}

void multiply_range(const KernelTable& k, const PackedView& matrix, WeightInput& input, std::size_t begin,
                    std::size_t end, float* out) {
    const InputView& x = input.rounded(k).view();
    if (input.batch() == 1) {
        k.dot_rows_packed(matrix, nullptr, begin, end, x, out);
    } else {
        k.multiply_rows_packed(matrix, nullptr, begin, end, x, input.batch(), out, matrix.rows);
    }
}

}  // namespace

const QuantizedInput& WeightInput::rounded(const KernelTable& k) {
    if (!rounded_) {
        quantize_input(k, x_, batch_, columns_, input_);
        rounded_ = true;
    }
    return input_;
}

void multiply(const KernelTable& k, const Product* products, std::size_t count, WeightInput& input) {
    std::size_t rows = 0;
    std::size_t columns = 1;
    for (std::size_t i = 0; i < count; ++i) {
        rows += rows_of(*products[i].weight);
        std::visit([&](const auto& view) { columns = view.columns; }, *products[i].weight);
        // Rounded here, so that the threads find it done.
        if (std::holds_alternative<PackedView>(*products[i].weight)) input.rounded(k);
    }
    parallel_for(rows, grain(columns * input.batch()), kScratchRows, [&](std::size_t begin, std::size_t end) {
        std::size_t first = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t last = first + rows_of(*products[i].weight);
            const std::size_t from = std::max(begin, first);
            const std::size_t to = std::min(end, last);
            if (from < to) {
                std::visit([&](const auto& view) { multiply_range(k, view, input, from - first, to - first, products[i].out); },
                           *products[i].weight);
            }
            first = last;
        }
    });
}

void dequantize_row(const KernelTable& k, const Weight& weight, std::size_t row, float* out) {
    if (const auto* packed = std::get_if<PackedView>(&weight)) {
        dequantize_packed(k, *packed, row, row + 1, out);
    } else {
        k.dequantize(std::get<Q8View>(weight), row, row + 1, out);
    }
}

}  // namespace fairlead

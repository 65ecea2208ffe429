#pragma once

#include <variant>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// A borrowed weight matrix: float activations are multiplied by a Q8View, int8 ones by a PackedView.
using Weight = std::variant<Q8View, PackedView>;

inline std::size_t rows_of(const Weight& weight) {
    return std::visit([](const auto& view) { return view.rows; }, weight);
}

// Activations [batch, columns] as floats and, once a packed matrix has asked for them, as int8.
class WeightInput {
public:
    // x must stay as it is while this input is in use.
    void set(const float* x, std::size_t batch, std::size_t columns) {
        x_ = x;
        batch_ = batch;
        columns_ = columns;
        rounded_ = false;
    }
    const float* floats() const { return x_; }
    std::size_t batch() const { return batch_; }
    const QuantizedInput& rounded(const KernelTable& k);

private:
    const float* x_ = nullptr;
    std::size_t batch_ = 0;
    std::size_t columns_ = 0;
    bool rounded_ = false;
    QuantizedInput input_;
};

// One product: out [batch, rows] = the weight times each vector of the input.
struct Product {
    const Weight* weight = nullptr;
    float* out = nullptr;
};

// Up to four products of one input, handed to the threads at once.
void multiply(const KernelTable& k, const Product* products, std::size_t count, WeightInput& input);

// out [columns] = one row, exact.
void dequantize_row(const KernelTable& k, const Weight& weight, std::size_t row, float* out);

}  // namespace fairlead

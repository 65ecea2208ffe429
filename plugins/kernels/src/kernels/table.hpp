#pragma once

#include "fairlead/kernel_table.hpp"
#include "kernels/activation.hpp"
#include "kernels/attend.hpp"
#include "kernels/dot_rows.hpp"
#include "kernels/multiply_rows.hpp"
#include "kernels/quantize.hpp"
#include "kernels/rmsnorm.hpp"
#include "kernels/rope.hpp"
#include "kernels/softmax.hpp"
#include "kernels/sum_rows.hpp"
#include "kernels/sum_rows_batch.hpp"

namespace fairlead::kernels {

template <class V>
inline constexpr KernelTable table_of = {
    .isa = V::name,
    .dot_rows = dot_rows<V>,
    .multiply_rows = multiply_rows<V>,
    .sum_rows = sum_rows<V>,
    .sum_rows_batch = sum_rows_batch<V>,
    .dequantize = dequantize<V>,
    .quantize_group = quantize_group<V>,
    .largest_magnitude = largest_magnitude<V>,
    .rmsnorm = rmsnorm<V>,
    .rope = rope<V>,
    .softmax = softmax<V>,
    .attend = attend<V>,
    .gate = gate<V>,
    .multiply_up = multiply_up<V>,
    .add = add<V>,
};

}  // namespace fairlead::kernels

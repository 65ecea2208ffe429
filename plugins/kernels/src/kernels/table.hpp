#pragma once

#include "fairlead/kernel_table.hpp"
#include "kernels/activation.hpp"
#include "kernels/attend.hpp"
#include "kernels/dot_rows.hpp"
#include "kernels/dot_rows_packed.hpp"
#include "kernels/layernorm.hpp"
#include "kernels/multiply_floats.hpp"
#include "kernels/multiply_rows.hpp"
#include "kernels/multiply_rows_packed.hpp"
#include "kernels/quantize.hpp"
#include "kernels/quantize_input.hpp"
#include "kernels/rmsnorm.hpp"
#include "kernels/rope.hpp"
#include "kernels/byte_distances.hpp"
#include "kernels/coded_products.hpp"
#include "kernels/score_lines.hpp"
#include "kernels/softmax.hpp"
#include "kernels/sum_rows.hpp"
#include "kernels/sum_rows_batch.hpp"
#include "kernels/sum_rows_packed_batch.hpp"
#include "kernels/unified_attend.hpp"
#include "kernels/unified_scores.hpp"

namespace fairlead::kernels {

template <class V>
inline constexpr KernelTable table_of = {
    .isa = V::name,
    .dot_rows = dot_rows<V>,
    .multiply_rows = multiply_rows<V>,
    .multiply_floats = multiply_floats<V>,
    .sum_rows = sum_rows<V>,
    .sum_rows_batch = sum_rows_batch<V>,
    .dequantize = dequantize<V>,
    .quantize_group = quantize_group<V>,
    .largest_magnitude = largest_magnitude<V>,
    .quantize_input = quantize_input<V>,
    .dot_rows_packed = dot_rows_packed<V>,
    .multiply_rows_packed = multiply_rows_packed<V>,
    .sum_rows_packed = sum_rows_packed<V>,
    .sum_rows_packed_batch = sum_rows_packed_batch<V>,
    .rmsnorm = rmsnorm<V>,
    .layernorm = layernorm<V>,
    .rope = rope<V>,
    .softmax = softmax<V>,
    .attend = attend<V, float>,
    .attend_int8 = attend<V, std::int8_t>,
    .quantize_head = quantize_head<V>,
    .gate = gate<V>,
    .multiply_up = multiply_up<V>,
    .add = add<V>,
    .read_vectors = read_vectors<V>,
    .write_vectors = write_vectors<V>,
    .attend_tile = attend_tile<V>,
    .merge_tile = merge_tile<V>,
    .tile_floats = tile_floats<V>,
    .partial_floats = padded_partial_floats<V>,
    .update_scores = update_scores<V>,
    .add_received = add_received<V>,
    .score_lines = score_lines<V>,
    .score_nibbles = score_nibbles<V>,
    .byte_distances = byte_distances<V>,
    .nibble_distances = nibble_distances<V>,
    .coded_products = coded_products<V>,
};

}  // namespace fairlead::kernels

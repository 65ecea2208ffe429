#include <nanobind/stl/optional.h>

#include <optional>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/dispatch.hpp"
#include "fairlead/packed_feed_forward.hpp"
#include "fairlead/packed_operators.hpp"

namespace fairlead::python {
namespace {

void multiply_into(nb::handle matrix, Array<const float, 2> x, Array<float, 2> out) {
    const PackedView weights = packed_view(matrix);
    require(x.shape(1) == weights.columns, "x: must have the matrix's number of columns");
    require(out.shape(0) == x.shape(0) && out.shape(1) == weights.rows, "out: must be [batch, rows]");
    if (x.shape(0) == 0) return;
    const nb::gil_scoped_release released;
    QuantizedInput input;
    quantize_input(kernels_in_use(), x.data(), x.shape(0), x.shape(1), input);
    multiply_packed(kernels_in_use(), weights, input, out.data());
}

void sum_into(nb::handle matrix, Array<const std::int32_t, 1> rows, Array<const float, 2> weight,
              Array<float, 2> out) {
    const PackedView weights = packed_view(matrix);
    check_indices(rows, weights.rows, "rows");
    require(weight.shape(1) == rows.shape(0), "weight: must be [batch, rows]");
    require(out.shape(0) == weight.shape(0) && out.shape(1) == weights.columns, "out: must be [batch, columns]");
    const std::size_t count = rows.shape(0), batch = weight.shape(0);
    const nb::gil_scoped_release released;
    if (batch == 1) {
        sum_packed(kernels_in_use(), weights, rows.data(), weight.data(), count, out.data());
    } else {
        sum_packed_batch(kernels_in_use(), weights, rows.data(), weight.data(), count, batch, out.data());
    }
}

void dequantize_into(nb::handle matrix, Array<float, 2> out) {
    const PackedView weights = packed_view(matrix);
    require(out.shape(0) == weights.rows && out.shape(1) == weights.columns, "out: must be [rows, columns]");
    const nb::gil_scoped_release released;
    dequantize_packed(kernels_in_use(), weights, 0, weights.rows, out.data());
}

std::size_t feed_forward_into(nb::handle gate, nb::handle up, nb::handle down_t, std::int32_t activation,
                              float threshold, Array<const float, 2> x,
                              std::optional<Array<const std::int32_t, 1>> neurons, Array<float, 2> y) {
    require(activation >= 0 && activation <= static_cast<std::int32_t>(Activation::geglu), "activation: unknown");
    const PackedFeedForwardView layer{packed_view(gate), packed_view(up), packed_view(down_t),
                                      static_cast<Activation>(activation), threshold};
    require(layer.up.rows == layer.gate.rows && layer.down_t.rows == layer.gate.rows, "gate, up, down_t: rows differ");
    require(layer.gate.columns == x.shape(1) && layer.up.columns == x.shape(1), "x: must have the gate's columns");
    require(y.shape(0) == x.shape(0) && layer.down_t.columns == y.shape(1), "y: must be [tokens, columns of down_t]");
    if (neurons) check_indices(*neurons, layer.gate.rows, "neurons");
    if (x.shape(0) == 0) return 0;
    const std::int32_t none = 0;
    // An empty list has no data pointer, and a null list means every neuron.
    const std::int32_t* chosen = neurons ? (neurons->shape(0) > 0 ? neurons->data() : &none) : nullptr;
    const std::size_t count = neurons ? neurons->shape(0) : 0;
    const nb::gil_scoped_release released;
    const KernelTable& k = kernels_in_use();
    PackedFeedForwardScratch scratch;
    QuantizedInput input;
    quantize_input(k, x.data(), x.shape(0), x.shape(1), input);
    if (x.shape(0) == 1) return feed_forward_packed(k, layer, input, chosen, count, scratch, y.data());
    return feed_forward_packed_batch(k, layer, input, chosen, count, scratch, y.data(), nullptr);
}

}  // namespace

void bind_packed(nb::module_& module) {
    module.def("multiply_packed", &multiply_into, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("sum_packed", &sum_into, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert());
    module.def("dequantize_packed", &dequantize_into, nb::arg(), nb::arg().noconvert());
    module.def("feed_forward_packed", &feed_forward_into, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
               nb::arg().noconvert(), nb::arg().noconvert().none(), nb::arg().noconvert());
}

}  // namespace fairlead::python

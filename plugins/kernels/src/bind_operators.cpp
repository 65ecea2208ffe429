#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/dispatch.hpp"
#include "fairlead/feed_forward.hpp"
#include "fairlead/operators.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead::python {
namespace {

void quantize_into(Array<const float, 2> x, Array<std::int8_t, 2> q, nb::ndarray<nb::ndim<2>, nb::c_contig> scale) {
    require(q.shape(0) == x.shape(0) && q.shape(1) == x.shape(1), "q: must have the shape of x");
    require(x.shape(1) % kGroup == 0, "x: columns must be a multiple of 32");
    require(scale.shape(0) == x.shape(0) && scale.shape(1) == x.shape(1) / kGroup && scale.itemsize() == 2,
            "scale: must be float16 [rows, columns / 32]");
    const nb::gil_scoped_release released;
    quantize(kernels_in_use(), x.data(), x.shape(0), x.shape(1), q.data(),
             static_cast<std::uint16_t*>(scale.data()));
}

void multiply_into(nb::handle matrix, Array<const float, 2> x, Array<float, 2> out) {
    const Q8View weights = view(matrix);
    require(x.shape(1) == weights.columns, "x: must have the matrix's number of columns");
    require(out.shape(0) == x.shape(0) && out.shape(1) == weights.rows, "out: must be [batch, rows]");
    const nb::gil_scoped_release released;
    multiply(kernels_in_use(), weights, x.data(), x.shape(0), out.data());
}

std::size_t feed_forward_into(nb::handle gate, nb::handle up, nb::handle down_t, std::int32_t activation,
                              float threshold, Array<const float, 1> x,
                              std::optional<Array<const std::int32_t, 1>> neurons, Array<float, 1> y) {
    require(activation >= 0 && activation <= static_cast<std::int32_t>(Activation::geglu), "activation: unknown");
    const FeedForwardView layer{view(gate), view(up), view(down_t), static_cast<Activation>(activation), threshold};
    require(layer.up.rows == layer.gate.rows && layer.down_t.rows == layer.gate.rows, "gate, up, down_t: rows differ");
    require(layer.gate.columns == x.shape(0) && layer.up.columns == x.shape(0), "x: must have the gate's columns");
    require(layer.down_t.columns == y.shape(0), "y: must have the columns of down_t");
    if (neurons) check_indices(*neurons, layer.gate.rows, "neurons");
    const std::int32_t* chosen = neurons ? neurons->data() : nullptr;
    const std::size_t count = neurons ? neurons->shape(0) : 0;
    const nb::gil_scoped_release released;
    // An empty list has no data pointer, and a null list means every neuron.
    const std::int32_t none = 0;
    if (neurons && chosen == nullptr) chosen = &none;
    FeedForwardScratch scratch;
    return feed_forward(kernels_in_use(), layer, x.data(), chosen, count, scratch, y.data());
}

void rmsnorm_into(Array<const float, 2> x, Array<const float, 1> weight, float epsilon, Array<float, 2> out) {
    const std::size_t width = x.shape(1);
    require(weight.shape(0) == width, "weight: must have the last dimension of x");
    require(out.shape(0) == x.shape(0) && out.shape(1) == width, "out: must have the shape of x");
    for (std::size_t i = 0; i < x.shape(0); ++i) {
        kernels_in_use().rmsnorm(x.data() + i * width, weight.data(), epsilon, width, out.data() + i * width);
    }
}

void layernorm_into(Array<const float, 2> x, Array<const float, 1> weight, Array<const float, 1> bias, float epsilon,
                    Array<float, 2> out) {
    const std::size_t width = x.shape(1);
    require(weight.shape(0) == width && bias.shape(0) == width, "weight, bias: must have the last dimension of x");
    require(out.shape(0) == x.shape(0) && out.shape(1) == width, "out: must have the shape of x");
    for (std::size_t i = 0; i < x.shape(0); ++i) {
        kernels_in_use().layernorm(x.data() + i * width, weight.data(), bias.data(), epsilon, width,
                                   out.data() + i * width);
    }
}

void rope_in_place(Array<float, 3> x, Array<const float, 2> cosine, Array<const float, 2> sine) {
    const std::size_t half = x.shape(2) / 2;
    require(cosine.shape(0) == x.shape(0) && cosine.shape(1) == half, "cosine: must be [tokens, head_dim / 2]");
    require(sine.shape(0) == x.shape(0) && sine.shape(1) == half, "sine: must be [tokens, head_dim / 2]");
    for (std::size_t t = 0; t < x.shape(0); ++t) {
        kernels_in_use().rope(x.data() + t * x.shape(1) * x.shape(2), x.shape(1), x.shape(2),
                              cosine.data() + t * half, sine.data() + t * half);
    }
}

void softmax_in_place(Array<float, 2> x) {
    require(x.shape(1) > 0, "x: the last dimension must not be empty");
    for (std::size_t i = 0; i < x.shape(0); ++i) {
        kernels_in_use().softmax(x.data() + i * x.shape(1), x.shape(1));
    }
}

template <class T>
void check_attention(const Array<const float, 3>& query, const Array<const T, 4>& keys,
                     const Array<const T, 4>& values, const Array<const std::int32_t, 1>& page_table,
                     std::size_t first_length, const Array<float, 3>& out) {
    for (std::size_t i = 0; i < 4; ++i) require(keys.shape(i) == values.shape(i), "keys, values: shapes differ");
    for (std::size_t i = 0; i < 3; ++i) require(query.shape(i) == out.shape(i), "out: must have the shape of query");
    require(keys.shape(3) == query.shape(2), "keys: head_dim differs from the query's");
    require(keys.shape(2) > 0 && query.shape(1) % keys.shape(2) == 0, "query: heads must be a multiple of kv_heads");
    require(query.shape(0) > 0, "query: must have at least one token");
    require(first_length > 0 && keys.shape(1) > 0, "first_length and page_size: must be positive");
    check_pages(page_table, first_length, query.shape(0) - 1, keys.shape(0), keys.shape(1));
}

template <class T>
Pages<T> pages_of(const Array<const T, 4>& entries, const float* scale = nullptr) {
    return {const_cast<T*>(entries.data()), entries.shape(1), entries.shape(2), entries.shape(3),
            const_cast<float*>(scale)};
}

void attend_into(Array<const float, 3> query, Array<const float, 4> keys, Array<const float, 4> values,
                 Array<const std::int32_t, 1> page_table, std::size_t first_length, float scale, Array<float, 3> out) {
    check_attention(query, keys, values, page_table, first_length, out);
    const AttentionTask task{query.data(),   pages_of(keys), pages_of(values), page_table.data(),
                             query.shape(1), first_length,   scale,            out.data()};
    const nb::gil_scoped_release released;
    attend(kernels_in_use(), task, query.shape(0));
}

void attend_int8_into(Array<const float, 3> query, Array<const std::int8_t, 4> keys, Array<const float, 3> key_scale,
                      Array<const std::int8_t, 4> values, Array<const float, 3> value_scale,
                      Array<const std::int32_t, 1> page_table, std::size_t first_length, float scale,
                      Array<float, 3> out) {
    check_attention(query, keys, values, page_table, first_length, out);
    for (std::size_t i = 0; i < 3; ++i) {
        require(key_scale.shape(i) == keys.shape(i) && value_scale.shape(i) == keys.shape(i),
                "key_scale, value_scale: must be [pages, page_size, kv_heads]");
    }
    const Int8AttentionTask task{query.data(),      pages_of(keys, key_scale.data()),
                                 pages_of(values, value_scale.data()),
                                 page_table.data(), query.shape(1),
                                 first_length,      scale,
                                 out.data()};
    const nb::gil_scoped_release released;
    attend(kernels_in_use(), task, query.shape(0));
}

void quantize_heads_into(Array<const float, 2> x, Array<std::int8_t, 2> q, Array<float, 1> scale) {
    require(q.shape(0) == x.shape(0) && q.shape(1) == x.shape(1), "q: must have the shape of x");
    require(scale.shape(0) == x.shape(0), "scale: must have one value a head");
    quantize_heads(kernels_in_use(), x.data(), x.shape(0), x.shape(1), q.data(), scale.data());
}

void resize_pool(std::size_t threads) {
    require(threads >= 1 && threads <= 256, "threads: must be 1..256");
    const nb::gil_scoped_release released;
    ThreadPool::instance().resize(threads);
}

}  // namespace

void bind_operators(nb::module_& module) {
    module.def("available_isas", &available_isas);
    module.def("select_isa", [](const std::string& name) { select_isa(name); });
    module.def("isa", [] { return std::string(kernels_in_use().isa); });
    module.def("set_threads", &resize_pool, nb::arg("threads"));
    module.def("threads", [] { return ThreadPool::instance().threads(); });
    module.def("quantize", &quantize_into, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("multiply", &multiply_into, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("feed_forward", &feed_forward_into, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
               nb::arg().noconvert(), nb::arg().noconvert().none(), nb::arg().noconvert());
    module.def("rmsnorm", &rmsnorm_into, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(),
               nb::arg().noconvert());
    module.def("layernorm", &layernorm_into, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg(), nb::arg().noconvert());
    module.def("rope", &rope_in_place, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("softmax", &softmax_in_place, nb::arg().noconvert());
    module.def("attend_int8", &attend_int8_into, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg(),
               nb::arg().noconvert());
    module.def("quantize_heads", &quantize_heads_into, nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert());
    module.def("attend", &attend_into, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg(), nb::arg(), nb::arg().noconvert());
}

}  // namespace fairlead::python

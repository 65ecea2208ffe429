#include <string>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/dense_layer.hpp"
#include "fairlead/dispatch.hpp"
#include "fairlead/operators.hpp"

namespace fairlead::python {
namespace {

using Floats = Array<const float, 2>;

// A layer whose arrays live as long as it does.
class DenseLayer {
public:
    DenseLayer(nb::dict weights, std::size_t heads, std::size_t kv_heads, std::size_t head_dim, float epsilon,
               std::int32_t activation, float threshold)
        : weights_(weights) {
        require(heads > 0 && kv_heads > 0 && heads % kv_heads == 0, "kv_heads: must divide heads");
        require(head_dim > 0 && head_dim % 2 == 0, "head_dim: must be even");
        require(activation >= 0 && activation <= static_cast<std::int32_t>(Activation::geglu), "activation: unknown");
        view_.heads = heads;
        view_.kv_heads = kv_heads;
        view_.head_dim = head_dim;
        view_.epsilon = epsilon;
        view_.activation = static_cast<Activation>(activation);
        view_.threshold = threshold;
        const auto qkv = nb::cast<Floats>(weights["qkv"], false);
        const auto inner = nb::cast<Floats>(weights["inner"], false);
        view_.hidden = qkv.shape(1);
        require(inner.shape(0) % 2 == 0, "inner: must hold as many rows of gate as of up");
        view_.neurons = inner.shape(0) / 2;
        view_.qkv = matrix("qkv", view_.joined(), view_.hidden);
        view_.o = matrix("o", view_.hidden, heads * head_dim);
        view_.inner = matrix("inner", 2 * view_.neurons, view_.hidden);
        view_.down = matrix("down", view_.hidden, view_.neurons);
        view_.input_norm = vector("input_norm", view_.hidden, false);
        view_.post_norm = vector("post_norm", view_.hidden, false);
        view_.qkv_bias = vector("qkv_bias", view_.joined(), true);
        view_.q_norm = vector("q_norm", head_dim, true);
        view_.k_norm = vector("k_norm", head_dim, true);
        view_.o_bias = vector("o_bias", view_.hidden, true);
        view_.inner_bias = vector("inner_bias", 2 * view_.neurons, true);
        view_.down_bias = vector("down_bias", view_.hidden, true);
    }

    void before(Floats hidden, Floats cosine, Floats sine, Array<float, 3> queries, Array<float, 3> keys,
                Array<float, 3> values) const {
        const std::size_t tokens = hidden.shape(0), half = view_.head_dim / 2;
        require(hidden.shape(1) == view_.hidden, "hidden: must be [tokens, hidden]");
        for (const Floats* turn : {&cosine, &sine}) {
            require(turn->shape(0) == tokens && turn->shape(1) == half, "cosine, sine: must be [tokens, head_dim / 2]");
        }
        check_heads(queries, tokens, view_.heads, "queries");
        check_heads(keys, tokens, view_.kv_heads, "keys");
        check_heads(values, tokens, view_.kv_heads, "values");
        const nb::gil_scoped_release released;
        dense_before(kernels_in_use(), view_, hidden.data(), tokens, cosine.data(), sine.data(), queries.data(),
                     keys.data(), values.data());
    }

    void after(Floats hidden, Array<const float, 3> seen, Array<float, 2> out) const {
        const std::size_t tokens = hidden.shape(0);
        require(hidden.shape(1) == view_.hidden, "hidden: must be [tokens, hidden]");
        require(out.shape(0) == tokens && out.shape(1) == view_.hidden, "out: must have the shape of hidden");
        require(out.data() != hidden.data() || tokens == 0, "out: must not be hidden");
        check_heads(seen, tokens, view_.heads, "seen");
        const nb::gil_scoped_release released;
        dense_after(kernels_in_use(), view_, hidden.data(), seen.data(), tokens, out.data());
    }

private:
    template <class T>
    void check_heads(const Array<T, 3>& x, std::size_t tokens, std::size_t heads, const char* name) const {
        require(x.shape(0) == tokens && x.shape(1) == heads && x.shape(2) == view_.head_dim,
                std::string(name) + ": must be [tokens, " + std::to_string(heads) + ", " +
                    std::to_string(view_.head_dim) + "]");
    }

    const float* matrix(const char* name, std::size_t rows, std::size_t columns) const {
        const auto found = nb::cast<Floats>(weights_[name], false);
        require(found.shape(0) == rows && found.shape(1) == columns,
                std::string(name) + ": must be [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
        return found.data();
    }

    const float* vector(const char* name, std::size_t size, bool optional) const {
        if (optional && !weights_.contains(name)) return nullptr;
        const auto found = nb::cast<Array<const float, 1>>(weights_[name], false);
        require(found.shape(0) == size, std::string(name) + ": must be [" + std::to_string(size) + "]");
        return found.data();
    }

    nb::dict weights_;
    DenseLayerView view_;
};

void multiply_floats_into(Floats matrix, Floats x, Array<float, 2> out) {
    require(x.shape(1) == matrix.shape(1), "x: must have the matrix's number of columns");
    require(out.shape(0) == x.shape(0) && out.shape(1) == matrix.shape(0), "out: must be [batch, rows]");
    const nb::gil_scoped_release released;
    multiply_floats(kernels_in_use(), matrix.data(), matrix.shape(0), matrix.shape(1), x.data(), x.shape(0), out.data());
}

}  // namespace

void bind_dense(nb::module_& module) {
    nb::class_<DenseLayer>(module, "DenseLayer")
        .def(nb::init<nb::dict, std::size_t, std::size_t, std::size_t, float, std::int32_t, float>())
        .def("before", &DenseLayer::before, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
             nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert())
        .def("after", &DenseLayer::after, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("multiply_floats", &multiply_floats_into, nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert());
}

}  // namespace fairlead::python

#pragma once

#include "kernels/elementwise.hpp"
#include "kernels/exponential.hpp"

namespace fairlead::kernels {

template <class V>
FAIRLEAD_INLINE typename V::Vec silu(typename V::Vec x) {
    const typename V::Vec negative = V::sub(V::zero(), x);
    return V::div(x, V::add(V::set1(1.0F), exponential<V>(negative)));
}

// gelu(x) ~ x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), Hendrycks and Gimpel 2016.
template <class V>
FAIRLEAD_INLINE typename V::Vec gelu_tanh(typename V::Vec x) {
    const typename V::Vec cubic = V::mul(V::mul(x, x), V::mul(x, V::set1(0.044715F)));
    const typename V::Vec argument = V::mul(V::add(x, cubic), V::set1(-1.5957691216057308F));
    return V::div(x, V::add(V::set1(1.0F), exponential<V>(argument)));
}

template <class V>
void gate(Activation activation, float threshold, float* x, std::size_t count) {
    const typename V::Vec limit = V::set1(threshold);
    const auto keep = [=](typename V::Vec value) { return V::zero_unless_greater(value, V::abs(value), limit); };
    switch (activation) {
        case Activation::drelu:
        case Activation::relu:
            transform<V>(x, count, [=](typename V::Vec v, std::size_t) { return keep(V::max(V::zero(), v)); });
            break;
        case Activation::swiglu:
            transform<V>(x, count, [=](typename V::Vec v, std::size_t) { return keep(silu<V>(v)); });
            break;
        case Activation::geglu:
            transform<V>(x, count, [=](typename V::Vec v, std::size_t) { return keep(gelu_tanh<V>(v)); });
            break;
    }
}

template <class V>
void multiply_up(Activation activation, const float* up, float* x, std::size_t count) {
    if (activation == Activation::drelu) {
        transform<V>(x, count, [=](typename V::Vec v, std::size_t i) {
            return V::mul(v, V::max(V::zero(), load_within<V>(up, i, count)));
        });
    } else {
        transform<V>(x, count,
                     [=](typename V::Vec v, std::size_t i) { return V::mul(v, load_within<V>(up, i, count)); });
    }
}

}  // namespace fairlead::kernels

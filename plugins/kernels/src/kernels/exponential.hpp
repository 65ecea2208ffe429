#pragma once

#include "fairlead/inline.hpp"

namespace fairlead::kernels {

// exp(x) to about one unit in the last place: Cephes expf (range reduction by ln 2 in two parts, then a
// polynomial of degree 5). Below -87.3 the result is 0, above 88 it stays at exp(88).
template <class V>
FAIRLEAD_INLINE typename V::Vec exponential(typename V::Vec x) {
    const typename V::Vec lowest = V::set1(-87.3F);
    const typename V::Vec clamped = V::min(V::set1(88.0F), V::max(lowest, x));
    const typename V::Vec n = V::round(V::mul(clamped, V::set1(1.44269504088896341F)));
    typename V::Vec r = V::fma(n, V::set1(-0.693359375F), clamped);
    r = V::fma(n, V::set1(2.12194440e-4F), r);
    typename V::Vec p = V::set1(1.9875691500e-4F);
    p = V::fma(p, r, V::set1(1.3981999507e-3F));
    p = V::fma(p, r, V::set1(8.3334519073e-3F));
    p = V::fma(p, r, V::set1(4.1665795894e-2F));
    p = V::fma(p, r, V::set1(1.6666665459e-1F));
    p = V::fma(p, r, V::set1(5.0000001201e-1F));
    p = V::add(V::fma(p, V::mul(r, r), r), V::set1(1.0F));
    return V::zero_where_less(V::mul(p, V::exp2_of_integer(n)), x, lowest);
}

}  // namespace fairlead::kernels

#pragma once

#include "fairlead/vectors/kernels.hpp"
#include "kernels/vector_distances.hpp"
#include "kernels/vector_leading.hpp"

namespace fairlead::vectors::kernels {

template <class V>
inline constexpr VectorKernels vectors_of = {
    .isa = V::name,
    .distances = distances<V>,
    .leading = leading<V, false>,
    .fine = leading<V, true>,
    .project = project<V>,
};

}  // namespace fairlead::vectors::kernels

#pragma once

#include "fairlead/vectors/kernels.hpp"
#include "kernels/vector_bits.hpp"
#include "kernels/vector_distances.hpp"
#include "kernels/vector_leading.hpp"
#include "kernels/vector_rotation.hpp"

namespace fairlead::vectors::kernels {

template <class V>
inline constexpr VectorKernels vectors_of = {
    .isa = V::name,
    .distances = distances<V>,
    .leading = leading<V, false>,
    .fine = leading<V, true>,
    .project = project<V>,
    .project_out = project_out<V>,
    .mix = mix<V>,
    .scan = scan<V>,
    .plane_dot = plane_dot<V>,
};

}  // namespace fairlead::vectors::kernels

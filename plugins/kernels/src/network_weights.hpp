#pragma once

#include <memory>
#include <string>

#include "arrays.hpp"
#include "fairlead/feed_forward.hpp"
#include "fairlead/packed_source.hpp"

namespace fairlead::python {

inline const float* vector_of(nb::handle owner, const char* name, std::size_t length) {
    const nb::object value = owner.attr(name);
    if (value.is_none()) return nullptr;
    const auto array = nb::cast<Array<const float, 1>>(value, false);
    require(array.shape(0) == length, std::string(name) + ": must be float32 [" + std::to_string(length) + "]");
    return array.data();
}

// A PackedMatrix has bits.
inline bool is_packed(nb::handle matrix) { return nb::hasattr(matrix, "bits"); }

template <class View>
View checked(View matrix, const char* name, std::size_t rows, std::size_t columns) {
    require(matrix.rows == rows && matrix.columns == columns,
            std::string(name) + ": must be [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
    return matrix;
}

// Buffers that all networks of a decoder share, since they compute one after the other.
struct SharedScratch {
    std::shared_ptr<FeedForwardScratch> q8 = std::make_shared<FeedForwardScratch>();
    std::shared_ptr<PackedSourceScratch> packed = std::make_shared<PackedSourceScratch>();
};

// A layer's feed-forward: a dense network or a mixture of experts over the arrays of a LayerWeights, or the source
// that it names. Null where the caller computes it: there is none of the three matrices.
std::shared_ptr<FeedForward> feed_forward_of(nb::handle layer, nb::handle config, std::size_t hidden,
                                             const SharedScratch& scratch);

}  // namespace fairlead::python

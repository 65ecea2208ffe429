#include <nanobind/stl/optional.h>

#include <optional>

#include "bindings.hpp"
#include "byte_rows.hpp"
#include "fairlead/thread_pool.hpp"
#include "fairlead/vectors/codes.hpp"
#include "fairlead/vectors/space.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::vectors;

using Floats = Array<const float, 2>;

void vector_distances(int element, int metric, std::size_t dim, ByteRows queries, ByteRows vectors,
                      std::optional<Ids> ids, Array<float, 2> out) {
    const Space space = space_of(element, metric, dim);
    const RowsView q(queries, space.bytes(), "queries"), x(vectors, space.bytes(), "vectors");
    check_ids(ids, x.count);
    const std::size_t columns = ids ? ids->shape(0) : x.count;
    require(out.shape(0) == q.count && out.shape(1) == columns, "out: must be [queries, vectors]");
    const nb::gil_scoped_release released;
    parallel_for(q.count, 1, 1, [&](std::size_t begin, std::size_t end) {
        SpaceQuery query(space);
        for (std::size_t i = begin; i < end; ++i) {
            query.set(q[i]);
            float* into = out.data() + i * columns;
            if (ids) distances(query, x.data, x.stride, ids->data(), columns, into);
            else distances_rows(query, x.data, x.stride, columns, into);
        }
    });
}

LeadingModel model_of(const Space& space, const Floats& matrix, const Array<const float, 1>& mean, float step) {
    require(matrix.shape(1) == space.dim, "matrix: must have dim columns");
    require(mean.shape(0) == space.dim, "mean: must have dim numbers");
    return {space, static_cast<std::uint32_t>(matrix.shape(0)), matrix.data(), mean.data(), step};
}

void leading_encode(int element, int metric, std::size_t dim, Floats matrix, Array<const float, 1> mean, float step,
                    ByteRows vectors, Array<std::uint8_t, 2> out) {
    const Space space = space_of(element, metric, dim);
    const LeadingModel model = model_of(space, matrix, mean, step);
    const RowsView x(vectors, space.bytes(), "vectors");
    const std::size_t stride = leading_stride(model.dims());
    require(out.shape(0) == x.count && out.shape(1) == stride, "out: must be [vectors, stride]");
    const nb::gil_scoped_release released;
    parallel_for(x.count, 16, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) model.encode(x[i], out.data() + i * stride);
    });
}

void leading_distances_of(int element, int metric, std::size_t dim, Floats matrix, Array<const float, 1> mean, float step,
                       ByteRows queries, std::size_t lead, bool fine, Array<const std::uint8_t, 2> codes,
                       std::optional<Ids> ids, Array<float, 2> out) {
    const Space space = space_of(element, metric, dim);
    const LeadingModel model = model_of(space, matrix, mean, step);
    const RowsView q(queries, space.bytes(), "queries");
    const std::size_t stride = leading_stride(model.dims()), count = codes.shape(0);
    require(codes.shape(1) == stride, "codes: rows must have " + std::to_string(stride) + " bytes");
    require(lead >= 1 && lead <= model.dims(), "lead: must be 1.." + std::to_string(model.dims()));
    check_ids(ids, count);
    const std::size_t columns = ids ? ids->shape(0) : count;
    require(out.shape(0) == q.count && out.shape(1) == columns, "out: must be [queries, vectors]");
    const LeadingView view{codes.data(), stride, model.dims()};
    const nb::gil_scoped_release released;
    parallel_for(q.count, 1, 1, [&](std::size_t begin, std::size_t end) {
        LeadingQuery query;
        for (std::size_t i = begin; i < end; ++i) {
            model.prepare(q[i], static_cast<std::uint32_t>(lead), query);
            const std::uint32_t* which = ids ? ids->data() : nullptr;
            (fine ? fine_distances : leading_distances)(query, view, which, columns, out.data() + i * columns);
        }
    });
}

}  // namespace

void bind_codes(nb::module_& module) {
    bind_bit_codes(module);
    module.def("vector_distances", &vector_distances, nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert().none(), nb::arg().noconvert());
    module.def("leading_encode", &leading_encode, nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("leading_distances", &leading_distances_of, nb::arg(), nb::arg(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(), nb::arg(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert().none(), nb::arg().noconvert());
}

}  // namespace fairlead::python

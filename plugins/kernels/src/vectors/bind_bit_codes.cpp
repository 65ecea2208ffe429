#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "bit_coder.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead::python {
namespace {

using namespace fairlead::vectors;
using FloatRows = BitCoder::FloatRows;
using FloatVector = BitCoder::FloatVector;
using Bytes = Array<std::uint8_t, 2>;
using ConstBytes = Array<const std::uint8_t, 2>;
using PlanNumbers = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;

void make_coder(BitCoder* made, int element, int metric, std::size_t dim, PlanNumbers plan, FloatRows matrix,
                FloatVector mean, BitCoder::Orders order, FloatRows signs, float balance, float unseen, float unit) {
    const auto [lead, scan_bits, lead_bits, rest, rest_bits] = plan;
    new (made) BitCoder(element, metric, dim, {lead, scan_bits, lead_bits, rest, rest_bits}, matrix, mean, order, signs,
                        balance, unseen, unit);
}

void rotate(const BitCoder& coder, ByteRows vectors, Array<float, 2> out) {
    const BitModel& model = coder.model();
    const RowsView x(vectors, model.space().bytes(), "vectors");
    const std::size_t width = model.plan().dim() + 1;
    require(out.shape(0) == x.count && out.shape(1) == width, "out: must be [vectors, dim + 1]");
    const nb::gil_scoped_release released;
    parallel_for(x.count, 16, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) model.rotate(x[i], out.data() + i * width);
    });
}

std::size_t blocks_of(std::size_t n) { return (n + kBlock - 1) / kBlock; }

void check_list(const BitModel& model, const FloatVector& centroid, const ConstBytes& blocks, const ConstBytes& rows,
                std::size_t n) {
    const BitPlan& plan = model.plan();
    require(centroid.shape(0) == plan.dim() + 1, "centroid: must be rotated, [dim + 1]");
    require(blocks.shape(1) == plan.block_bytes() && blocks.shape(0) >= blocks_of(n), "blocks: must hold n vectors");
    require(reinterpret_cast<std::uintptr_t>(blocks.data()) % 4 == 0, "blocks: must be aligned to 4 bytes");
    require(rows.shape(1) == plan.row_bytes() && (plan.row_bytes() == 0 || rows.shape(0) >= n), "rows: must be n rows");
}

void encode(const BitCoder& coder, FloatRows rotated, FloatVector centroid, std::size_t first, Bytes blocks, Bytes rows) {
    const BitModel& model = coder.model();
    const std::size_t n = rotated.shape(0), width = model.plan().dim() + 1, bytes = model.plan().row_bytes();
    require(rotated.shape(1) == width, "rotated: must be [n, dim + 1]");
    check_list(model, centroid, ConstBytes(blocks), ConstBytes(rows), first + n);
    const nb::gil_scoped_release released;
    auto* const into = reinterpret_cast<std::byte*>(blocks.data());
    auto* const row = reinterpret_cast<std::byte*>(rows.data());
    // Threads share no block.
    parallel_for(blocks_of(first + n) - first / kBlock, 1, 1, [&](std::size_t begin, std::size_t end) {
        const std::size_t from = std::max(first, (first / kBlock + begin) * kBlock);
        const std::size_t to = std::min(first + n, (first / kBlock + end) * kBlock);
        for (std::size_t i = from; i < to; ++i) {
            model.encode(rotated.data() + (i - first) * width, centroid.data(), into, i, bytes ? row + i * bytes : nullptr);
        }
    });
}

// scales: deviations by which scanned and refined bounds lie below estimates. Returned are positions, estimates and
// bounds of those that passed, and how many they are.
std::size_t scan(const BitCoder& coder, FloatVector query, FloatVector centroid, std::pair<float, float> scales, ConstBytes blocks,
                 ConstBytes rows, std::size_t n, float limit, bool refined, Array<std::uint32_t, 1> positions,
                 Array<float, 1> estimates, Array<float, 1> lowers) {
    const BitModel& model = coder.model();
    check_list(model, centroid, blocks, rows, n);
    require(query.shape(0) == model.plan().dim() + 1, "query: must be rotated, [dim + 1]");
    require(positions.shape(0) >= n && estimates.shape(0) >= n && lowers.shape(0) >= n, "out: must have room for n");
    const nb::gil_scoped_release released;
    BitQuery prepared;
    model.prepare_rotated(query.data(), prepared);
    const BitList list = prepared.list(centroid.data(), scales.first);
    std::vector<BitCandidate> found(blocks_of(n) * kBlock + kBlock);
    const auto* at = reinterpret_cast<const std::byte*>(blocks.data());
    const std::size_t passed = scan_list(model, prepared, list, at, n, limit, found.data());
    if (refined) {
        const BitList finer = prepared.list(centroid.data(), scales.second);
        refine(model, prepared, finer, at, reinterpret_cast<const std::byte*>(rows.data()), found.data(), passed);
    }
    for (std::size_t i = 0; i < passed; ++i) {
        positions.data()[i] = found[i].position;
        estimates.data()[i] = found[i].estimate;
        lowers.data()[i] = found[i].lower;
    }
    return passed;
}

}  // namespace

void bind_bit_codes(nb::module_& module) {
    const auto as_is = nb::arg().noconvert();
    nb::class_<BitCoder>(module, "BitCoder")
        .def("__init__", &make_coder, nb::arg(), nb::arg(), nb::arg(), nb::arg(), as_is, as_is, as_is, as_is, nb::arg(),
             nb::arg(), nb::arg())
        .def_prop_ro("block_bytes", [](const BitCoder& coder) { return coder.model().plan().block_bytes(); })
        .def_prop_ro("row_bytes", [](const BitCoder& coder) { return coder.model().plan().row_bytes(); })
        .def("rotate", &rotate, as_is, as_is)
        .def("encode", &encode, as_is, as_is, nb::arg(), as_is, as_is)
        .def("scan", &scan, as_is, as_is, nb::arg(), as_is, as_is, nb::arg(), nb::arg(), nb::arg(), as_is, as_is, as_is);
}

}  // namespace fairlead::python

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/streamed_feed_forward.hpp"

namespace fairlead::python {
namespace {

using Bias = Array<const float, 1>;

// A store with the buffers that its layers share. Not for use while a decoder computes with it.
class BoundStore {
public:
    BoundStore(std::string path, nb::handle shape, nb::handle options)
        : store_(std::make_shared<BundleStore>(std::move(path), shape_of(shape), options_of(options))),
          scratch_(std::make_shared<StreamScratch>()) {}

    const std::shared_ptr<BundleStore>& store() const { return store_; }
    const std::shared_ptr<StreamScratch>& scratch() const { return scratch_; }

    void resize(std::size_t slots, std::size_t hot_slots) {
        const nb::gil_scoped_release released;
        store_->resize(slots, hot_slots);
    }

private:
    static BundleShape shape_of(nb::handle shape) {
        BundleShape out;
        out.hidden = nb::cast<std::size_t>(shape.attr("hidden"));
        out.bits = nb::cast<int>(shape.attr("bits"));
        out.cluster_neurons = nb::cast<std::size_t>(shape.attr("cluster_neurons"));
        out.cluster_bytes = nb::cast<std::size_t>(shape.attr("cluster_bytes"));
        out.resident_gates = nb::cast<bool>(shape.attr("resident_gates"));
        out.matrices = nb::cast<std::size_t>(shape.attr("matrices"));
        require(out.matrices == 2 || out.matrices == 3, "matrices: must be 2 or 3");
        for (const nb::handle network : shape.attr("networks")) {
            const auto [offset, neurons, hot] =
                nb::cast<std::tuple<std::uint64_t, std::size_t, std::size_t>>(network);
            out.networks.push_back({offset, neurons, hot});
        }
        return out;
    }

    static StoreOptions options_of(nb::handle options) {
        StoreOptions out;
        const auto size = [&](const char* name) { return nb::cast<std::size_t>(options.attr(name)); };
        out.slots = size("slots");
        out.hot_slots = size("hot_slots");
        out.group = size("group");
        out.run = size("run");
        out.depth = size("depth");
        out.threads = size("threads");
        out.direct = nb::cast<bool>(options.attr("direct"));
        out.uring = nb::cast<bool>(options.attr("uring"));
        for (const nb::handle range : options.attr("broken")) {
            const auto [begin, end] = nb::cast<std::pair<std::uint64_t, std::uint64_t>>(range);
            out.broken.push_back({begin, end});
        }
        return out;
    }

    std::shared_ptr<BundleStore> store_;
    std::shared_ptr<StreamScratch> scratch_;
};

std::shared_ptr<NeuronPredictor> predictor_of(nb::handle predictor) {
    if (predictor.is_none()) return nullptr;
    PredictorView view;
    view.a = packed_view(predictor.attr("a"));
    view.b = packed_view(predictor.attr("b"));
    const auto bias = nb::cast<Array<const float, 1>>(predictor.attr("bias"), false);
    require(view.b.columns == view.a.rows && bias.shape(0) == view.b.rows, "predictor: b and bias must fit a");
    view.bias = bias.data();
    view.threshold = nb::cast<float>(predictor.attr("threshold"));
    return std::make_shared<NeuronPredictor>(view);
}

std::shared_ptr<FeedForward> streamed(const BoundStore& store, std::size_t network,
                                      Array<const std::int32_t, 1> order, nb::object gates, nb::object predictor,
                                      std::int32_t activation, float threshold,
                                      std::optional<Bias> gate_bias, std::optional<Bias> down_bias) {
    require(activation >= 0 && activation <= static_cast<std::int32_t>(Activation::geglu), "activation: unknown");
    StreamedLayer layer;
    layer.network = network;
    layer.order.assign(order.data(), order.data() + order.shape(0));
    if (!gates.is_none()) layer.gates = packed_view(gates);
    require(gates.is_none() || layer.gates.bits == store.store()->shape().bits, "gates: must have the store's bits");
    layer.predictor = predictor_of(predictor);
    require(layer.predictor == nullptr ||
                packed_view(predictor.attr("a")).columns == store.store()->shape().hidden,
            "predictor.a: must be [rank, hidden]");
    layer.activation = static_cast<Activation>(activation);
    layer.threshold = threshold;
    require(!gate_bias || gate_bias->shape(0) == layer.order.size(), "gate_bias: must be [neurons]");
    require(!down_bias || down_bias->shape(0) == store.store()->shape().hidden, "down_bias: must be [hidden]");
    layer.gate_bias = gate_bias ? gate_bias->data() : nullptr;
    layer.down_bias = down_bias ? down_bias->data() : nullptr;
    return std::make_shared<StreamedFeedForward>(store.store(), store.scratch(), std::move(layer));
}

}  // namespace

void bind_streamed(nb::module_& module) {
    nb::class_<BoundStore>(module, "BundleStore")
        .def(nb::init<std::string, nb::handle, nb::handle>(), nb::arg("path"), nb::arg("shape"), nb::arg("options"))
        .def("resize", &BoundStore::resize)
        .def_prop_ro("slots", [](const BoundStore& self) { return self.store()->granted(); })
        .def_prop_ro("total_slots", [](const BoundStore& self) { return self.store()->total_slots(); })
        .def_prop_ro("slot_bytes", [](const BoundStore& self) { return self.store()->shape().slot_bytes(); })
        .def_prop_ro("used", [](const BoundStore& self) { return self.store()->cache().used(); })
        .def_prop_ro("hot_used", [](const BoundStore& self) { return self.store()->cache().used(Region::hot); })
        .def_prop_ro("guesses", [](const BoundStore& self) {
            return std::make_pair(self.store()->guesses(), self.store()->confirmed());
        })
        .def_prop_ro("engine", [](const BoundStore& self) { return self.store()->reader().engine(); })
        .def_prop_ro("direct", [](const BoundStore& self) { return self.store()->reader().direct(); })
        .def_prop_ro("descriptor", [](const BoundStore& self) { return self.store()->reader().descriptor(); });
    module.def("streamed_feed_forward", &streamed, nb::arg("store"), nb::arg("network"),
               nb::arg("order").noconvert(), nb::arg("gates").none(), nb::arg("predictor").none(),
               nb::arg("activation"), nb::arg("threshold"), nb::arg("gate_bias").noconvert().none(),
               nb::arg("down_bias").noconvert().none());
}

}  // namespace fairlead::python

#include "network_weights.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <utility>
#include <vector>

#include "fairlead/mixture_feed_forward.hpp"
#include "fairlead/neuron_predictor.hpp"

namespace fairlead::python {
namespace {

std::shared_ptr<NeuronPredictor> predictor_of(nb::handle predictor, std::size_t neurons, std::size_t hidden) {
    PredictorView out;
    out.a = packed_view(predictor.attr("a"));
    checked(out.a, "predictor.a", out.a.rows, hidden);
    out.b = checked(packed_view(predictor.attr("b")), "predictor.b", neurons, out.a.rows);
    out.bias = vector_of(predictor, "bias", neurons);
    require(out.bias != nullptr, "predictor.bias: must not be None");
    out.threshold = nb::cast<float>(predictor.attr("threshold"));
    return std::make_shared<NeuronPredictor>(out);
}

// The matrix that a gated network has beside its gate; a view without rows for one without gate.
template <class View>
View up_of(nb::handle layer, View (*view_of)(nb::handle), std::size_t neurons, std::size_t hidden) {
    return layer.attr("up").is_none() ? View{} : checked(view_of(layer.attr("up")), "up", neurons, hidden);
}

std::shared_ptr<FeedForward> packed_feed_forward_of(nb::handle layer, nb::handle config, std::size_t hidden,
                                                    Activation activation, float threshold,
                                                    const SharedScratch& scratch) {
    const PackedView gate = packed_view(layer.attr("gate"));
    const PackedFeedForwardView view{checked(gate, "gate", gate.rows, hidden),
                                     up_of(layer, &packed_view, gate.rows, hidden),
                                     checked(packed_view(layer.attr("down_t")), "down_t", gate.rows, hidden),
                                     activation,
                                     threshold,
                                     vector_of(layer, "gate_bias", gate.rows),
                                     vector_of(layer, "down_bias", hidden)};
    const bool predicts =
        nb::cast<std::string>(config.attr("mode")) == "predictor" && !layer.attr("predictor").is_none();
    return std::make_shared<PackedFeedForward>(
        view, predicts ? predictor_of(layer.attr("predictor"), gate.rows, hidden) : nullptr, scratch.packed);
}

// One dense network; null where the caller computes it: it has none of the three matrices.
std::shared_ptr<FeedForward> network_of(nb::handle layer, nb::handle config, std::size_t hidden,
                                        const SharedScratch& scratch) {
    if (!layer.attr("feed_forward").is_none()) {
        auto made = nb::cast<std::shared_ptr<FeedForward>>(layer.attr("feed_forward").attr("native"));
        require(made == nullptr || made->width() == 0 || made->width() == hidden,
                "feed_forward: was made for another hidden size");
        return made;
    }
    if (layer.attr("gate").is_none()) return nullptr;
    const auto code = nb::cast<std::int32_t>(config.attr("activation_code"));
    require(code >= 0 && code <= static_cast<std::int32_t>(Activation::geglu), "activation: unknown");
    const auto activation = static_cast<Activation>(code);
    const auto threshold = nb::cast<float>(config.attr("threshold"));
    if (is_packed(layer.attr("gate"))) {
        return packed_feed_forward_of(layer, config, hidden, activation, threshold, scratch);
    }
    const Q8View gate = view(layer.attr("gate"));
    const FeedForwardView rows{
        checked(gate, "gate", gate.rows, hidden), up_of(layer, &view, gate.rows, hidden),
        checked(view(layer.attr("down_t")), "down_t", gate.rows, hidden), activation, threshold,
        vector_of(layer, "gate_bias", gate.rows), vector_of(layer, "down_bias", hidden)};
    return std::make_shared<Q8FeedForward>(rows, scratch.q8);
}

std::shared_ptr<FeedForward> expert_of(nb::handle weights, nb::handle config, std::size_t hidden,
                                       const SharedScratch& scratch) {
    std::shared_ptr<FeedForward> made = network_of(weights, config, hidden, scratch);
    require(made != nullptr, "experts: each must have gate, up and down_t, or a feed_forward");
    return made;
}

std::shared_ptr<FeedForward> mixture_of(nb::handle mixture, nb::handle config, std::size_t hidden,
                                        const SharedScratch& scratch) {
    std::vector<std::shared_ptr<FeedForward>> experts;
    for (const nb::handle expert : mixture.attr("experts")) {
        experts.push_back(expert_of(expert, config, hidden, scratch));
    }
    const auto router = nb::cast<Array<const float, 2>>(mixture.attr("router"), false);
    require(router.shape(0) == experts.size() && router.shape(1) == hidden, "router: must be [experts, hidden]");
    const RouterView view{router.data(), hidden, nb::cast<std::size_t>(mixture.attr("chosen")),
                          nb::cast<bool>(mixture.attr("renormalize")), nb::cast<bool>(mixture.attr("sigmoid")),
                          nb::cast<bool>(mixture.attr("before_attention")),
                          vector_of(mixture, "shared_gate", hidden)};
    const nb::object shared = mixture.attr("shared");
    return std::make_shared<MixtureFeedForward>(
        view, std::move(experts), shared.is_none() ? nullptr : expert_of(shared, config, hidden, scratch));
}

}  // namespace

std::shared_ptr<FeedForward> feed_forward_of(nb::handle layer, nb::handle config, std::size_t hidden,
                                             const SharedScratch& scratch) {
    const nb::object mixture = layer.attr("mixture");
    return mixture.is_none() ? network_of(layer, config, hidden, scratch)
                             : mixture_of(mixture, config, hidden, scratch);
}

}  // namespace fairlead::python

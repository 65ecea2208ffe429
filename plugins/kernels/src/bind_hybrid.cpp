#include <nanobind/stl/shared_ptr.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/hybrid_feed_forward.hpp"
#include "network_weights.hpp"

namespace fairlead::python {
namespace {

// The fewest tokens that a submission must hold: what one call for several sequences takes.
constexpr std::size_t kLeastCapacity = 8;

// An accelerator whose two calls are Python's. The interpreter lock is held within them only, so a call that waits for
// its device should release it.
class CalledAccelerator final : public Accelerator {
public:
    CalledAccelerator(nb::callable submit, nb::callable wait, Array<float, 2> input, Array<float, 2> output,
                      Array<float, 1> active)
        : submit_(std::move(submit)), wait_(std::move(wait)), input_(input), output_(output), active_(active) {
        require(capacity() >= kLeastCapacity, "input: must hold at least 8 tokens");
        require(output.shape(0) == capacity() && output.shape(1) == hidden() && active.shape(0) == capacity(),
                "output, active: must be [capacity, hidden] and [capacity], as input");
    }

    std::size_t capacity() const override { return input_.shape(0); }
    std::size_t hidden() const { return input_.shape(1); }
    float* input() override { return input_.data(); }
    const float* output() const override { return output_.data(); }
    const float* active() const override { return active_.data(); }

    // What its layers' cold neurons share: they compute one after the other.
    const SharedScratch& scratch() const { return scratch_; }

    void submit(std::size_t layer, std::size_t tokens) override {
        const nb::gil_scoped_acquire held;
        submit_(layer, tokens);
    }

    void wait() override {
        const nb::gil_scoped_acquire held;
        wait_();
    }

private:
    nb::callable submit_, wait_;
    Array<float, 2> input_, output_;
    Array<float, 1> active_;
    SharedScratch scratch_;
};

std::shared_ptr<FeedForward> hybrid(nb::handle cold, nb::handle config,
                                    std::shared_ptr<CalledAccelerator> accelerator, std::size_t layer,
                                    std::size_t hot) {
    const auto hidden = nb::cast<std::size_t>(config.attr("hidden"));
    require(accelerator->hidden() == hidden, "accelerator: its input must be [capacity, hidden]");
    std::shared_ptr<FeedForward> inner = feed_forward_of(cold, config, hidden, accelerator->scratch());
    require(inner != nullptr, "cold: has no feed-forward weights");
    return std::make_shared<HybridFeedForward>(std::move(inner), std::move(accelerator), layer, hidden, hot);
}

}  // namespace

void bind_hybrid(nb::module_& module) {
    nb::class_<CalledAccelerator>(module, "CalledAccelerator")
        .def(nb::init<nb::callable, nb::callable, Array<float, 2>, Array<float, 2>, Array<float, 1>>(),
             nb::arg("submit"), nb::arg("wait"), nb::arg("input").noconvert(), nb::arg("output").noconvert(),
             nb::arg("active").noconvert());
    module.def("hybrid_feed_forward", &hybrid, nb::arg("cold"), nb::arg("config"), nb::arg("accelerator"),
               nb::arg("layer"), nb::arg("hot"));
}

}  // namespace fairlead::python

#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/look_ahead.hpp"
#include "fairlead/neuron_cache.hpp"

namespace fairlead::python {
namespace {

constexpr const char* kRegions[] = {"fixed", "hot", "cold"};

// A cache whose arguments are checked.
class BoundCache {
public:
    BoundCache(std::size_t layers, std::size_t clusters, std::size_t group, std::vector<std::uint32_t> fixed_groups,
               std::vector<std::uint32_t> hot_groups, std::size_t slots, std::size_t hot_slots)
        : cache_({layers, clusters, group, std::move(fixed_groups), std::move(hot_groups)}, slots, hot_slots) {}

    int lookup(std::uint32_t item) { return cache_.lookup(known(item)); }

    int admit(std::uint32_t item) {
        require(cache_.peek(known(item)) == NeuronCache::kNone, "item: is cached already");
        return cache_.admit(item);
    }

    std::vector<std::pair<std::uint32_t, int>> admit_group(std::size_t layer, std::size_t group) {
        if (layer >= cache_.shape().layers) throw nb::index_error("layer: no such layer");
        std::vector<std::pair<std::uint32_t, int>> admitted;
        for (const auto& [item, slot] : cache_.admit_group(layer, group)) admitted.emplace_back(item, slot);
        return admitted;
    }

    void arrived(std::uint32_t item) { cache_.arrived(cached(item)); }
    void forget(std::uint32_t item) { cache_.forget(cached(item)); }
    void release() { cache_.release(); }

    std::vector<std::pair<int, int>> resize(std::size_t slots, std::size_t hot_slots) {
        std::vector<std::pair<int, int>> moves;
        for (const auto& [from, to] : cache_.resize(slots, hot_slots)) moves.emplace_back(from, to);
        return moves;
    }

    int slot_of(std::uint32_t item) const { return cache_.peek(known(item)); }

    nb::object region(std::uint32_t item) const {
        const int slot = cache_.peek(known(item));
        if (slot == NeuronCache::kNone) return nb::none();
        return nb::str(kRegions[static_cast<std::size_t>(cache_.region(slot))]);
    }

    std::array<std::uint64_t, 3> hits() const { return cache_.counters().hits; }
    std::uint64_t misses() const { return cache_.counters().misses; }
    std::uint64_t evictions() const { return cache_.counters().evictions; }
    std::size_t used() const { return cache_.used(); }
    std::size_t slots() const { return cache_.slots(); }

private:
    std::uint32_t known(std::uint32_t item) const {
        const CacheShape& shape = cache_.shape();
        if (item >= shape.layers * shape.clusters) throw nb::index_error("item: no such item");
        return item;
    }

    int cached(std::uint32_t item) const {
        const int slot = cache_.peek(known(item));
        require(slot != NeuronCache::kNone, "item: is not cached");
        return slot;
    }

    NeuronCache cache_;
};

}  // namespace

void bind_cache(nb::module_& module) {
    nb::class_<BoundCache>(module, "NeuronCache")
        .def(nb::init<std::size_t, std::size_t, std::size_t, std::vector<std::uint32_t>, std::vector<std::uint32_t>,
                      std::size_t, std::size_t>(),
             nb::arg("layers"), nb::arg("clusters"), nb::arg("group"), nb::arg("fixed_groups"), nb::arg("hot_groups"),
             nb::arg("slots"), nb::arg("hot_slots"))
        .def("lookup", &BoundCache::lookup)
        .def("admit", &BoundCache::admit)
        .def("admit_group", &BoundCache::admit_group)
        .def("arrived", &BoundCache::arrived)
        .def("forget", &BoundCache::forget)
        .def("release", &BoundCache::release)
        .def("resize", &BoundCache::resize)
        .def("slot_of", &BoundCache::slot_of)
        .def("region", &BoundCache::region)
        .def_prop_ro("hits", &BoundCache::hits)
        .def_prop_ro("misses", &BoundCache::misses)
        .def_prop_ro("evictions", &BoundCache::evictions)
        .def_prop_ro("used", &BoundCache::used)
        .def_prop_ro("slots", &BoundCache::slots);
    nb::class_<LookAhead>(module, "LookAhead")
        .def(nb::init<>())
        .def("due", &LookAhead::due)
        .def("guessed", &LookAhead::guessed, nb::arg("rows"), nb::arg("asked"))
        .def("confirmed", &LookAhead::confirmed);
}

}  // namespace fairlead::python

#include "arrays.hpp"
#include "bindings.hpp"

#if defined(__linux__)

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstring>

#include "fairlead/vectors/region_server.hpp"
#include "fairlead/vectors/remote_tiers.hpp"
#include "fairlead/vectors/shared_ring.hpp"
#include "fairlead/vectors/ucx.hpp"

namespace fairlead::python {
namespace {

// Python's answer to a control message: (text, region or None, whether to close).
ControlAnswer ask(const nb::callable& handler, std::uint64_t connection, std::string_view text, bool ended) {
    const nb::gil_scoped_acquire acquired;
    try {
        const nb::object said = handler(connection, nb::bytes(text.data(), text.size()), ended);
        if (ended) return {};
        const auto parts = nb::cast<nb::tuple>(said);
        const auto bytes = nb::cast<nb::bytes>(parts[0]);
        ControlAnswer answer{{bytes.c_str(), bytes.size()}, nullptr, nb::cast<bool>(parts[2])};
        if (!parts[1].is_none()) answer.region = nb::cast<std::shared_ptr<LentRegion>>(parts[1]);
        return answer;
    } catch (nb::python_error& error) {
        error.discard_as_unraisable("the handler of a memory node's control messages");
        return {"{\"error\": \"the memory node failed at this message\"}", nullptr, true};
    }
}

void bind_lent(nb::module_& module) {
    nb::class_<LentRegion>(module, "LentRegion")
        .def("__init__",
             [](LentRegion* self, std::shared_ptr<TierMemory> memory) {
                 new (self) LentRegion();
                 self->memory = std::move(memory);
             })
        .def("end", [](LentRegion& self) { self.lent.store(false); })
        .def_prop_ro("statistics", [](const LentRegion& self) {
            nb::dict out;
            out["reads"] = self.reads.load();
            out["writes"] = self.writes.load();
            out["bytes_read"] = self.bytes_read.load();
            out["bytes_written"] = self.bytes_written.load();
            return out;
        });
}

void bind_region_server(nb::module_& module) {
    nb::class_<RegionServer>(module, "RegionServer")
        .def("__init__",
             [](RegionServer* self, const std::string& host, std::uint16_t port, std::size_t connections, nb::callable handler) {
                 // The reference is dropped where the interpreter is held, whatever thread ends the server.
                 auto held = std::shared_ptr<nb::callable>(new nb::callable(std::move(handler)), [](nb::callable* each) {
                     const nb::gil_scoped_acquire acquired;
                     delete each;
                 });
                 new (self) RegionServer(host, port, connections, [held](std::uint64_t number, std::string_view text, bool ended) {
                     return ask(*held, number, text, ended);
                 });
             })
        .def_prop_ro("port", &RegionServer::port)
        .def("serve", &RegionServer::serve, nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &RegionServer::stop)
        .def_prop_ro("statistics", [](const RegionServer& self) {
            const RegionServerStatistics seen = self.statistics();
            nb::dict out;
            out["connections"] = seen.connections;
            out["accepted"] = seen.accepted;
            out["garbage"] = seen.garbage;
            out["refused"] = seen.refused;
            return out;
        });
}

void bind_shared(nb::module_& module) {
    module.attr("RING_BYTES") = sizeof(RingSegment);
    nb::class_<SharedServer>(module, "SharedServer")
        .def(nb::init<std::shared_ptr<TierMemory>, std::shared_ptr<TierMemory>>(), nb::arg("region"), nb::arg("segment"))
        .def("serve", &SharedServer::serve, nb::arg("spin") = 100e-6, nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &SharedServer::stop)
        .def_prop_ro("reads", &SharedServer::reads)
        .def_prop_ro("bytes", &SharedServer::bytes);
    module.def("shared_tier", &make_shared_tier, nb::arg("url"), nb::arg("region"), nb::arg("segment"), nb::arg("delay"),
               nb::arg("timeout"));
}

void bind_ucx(nb::module_& module) {
    module.def("ucx_missing", &ucx_missing);
    nb::class_<UcxNode>(module, "UcxNode")
        .def(nb::init<>())
        .def_prop_ro("address", [](const UcxNode& self) { return nb::bytes(self.address().data(), self.address().size()); })
        .def("offer",
             [](UcxNode& self, const std::shared_ptr<TierMemory>& memory) {
                 const std::string key = self.offer(memory);
                 return nb::bytes(key.data(), key.size());
             })
        .def("withdraw", &UcxNode::withdraw);
    module.def(
        "ucx_tier",
        [](std::string url, const nb::bytes& node, const nb::bytes& key, std::uint64_t address, std::uint64_t size, int control,
           double timeout) {
            UcxPlace place{{node.c_str(), node.size()}, {key.c_str(), key.size()}, address, size, control};
            return make_ucx_tier(std::move(url), std::move(place), timeout);
        },
        nb::arg("url"), nb::arg("node"), nb::arg("key"), nb::arg("address"), nb::arg("size"), nb::arg("control"),
        nb::arg("timeout"));
}

}  // namespace

void bind_tier_servers(nb::module_& module);

void bind_tier_servers(nb::module_& module) {
    bind_lent(module);
    bind_region_server(module);
    bind_shared(module);
    bind_ucx(module);
    module.def("tcp_tier", &make_tcp_tier, nb::arg("url"), nb::arg("socket"), nb::arg("size"), nb::arg("timeout"));
    module.def(
        "process_tier",
        [](std::string url, int process, std::uint64_t address, std::uint64_t size, std::uint64_t guard_address,
           std::uint64_t guard_value, double timeout) {
            return make_process_tier(std::move(url), {process, address, size, guard_address, guard_value}, timeout);
        },
        nb::arg("url"), nb::arg("process"), nb::arg("address"), nb::arg("size"), nb::arg("guard_address") = 0,
        nb::arg("guard_value") = 0, nb::arg("timeout") = kTierTimeout);
}

}  // namespace fairlead::python

#endif

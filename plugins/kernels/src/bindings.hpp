#pragma once

#include <nanobind/nanobind.h>

namespace fairlead::python {

void bind_operators(nanobind::module_& module);
void bind_packed(nanobind::module_& module);
void bind_decoder(nanobind::module_& module);
void bind_cache(nanobind::module_& module);
void bind_reader(nanobind::module_& module);
void bind_streamed(nanobind::module_& module);
void bind_hybrid(nanobind::module_& module);
void bind_unified(nanobind::module_& module);
void bind_dense(nanobind::module_& module);
void bind_codes(nanobind::module_& module);
void bind_bit_codes(nanobind::module_& module);
void bind_tiers(nanobind::module_& module);
void bind_lists(nanobind::module_& module);
void bind_graph(nanobind::module_& module);
void bind_tier_graph(nanobind::module_& module);
void bind_radio(nanobind::module_& module);
void bind_splat(nanobind::module_& module);
void bind_quilt(nanobind::module_& module);
void bind_lattice(nanobind::module_& module);
void bind_feature_maps(nanobind::module_& module);
void bind_local_stage(nanobind::module_& module);
void bind_pixels(nanobind::module_& module);
void bind_least_map(nanobind::module_& module);

}  // namespace fairlead::python

#include "bindings.hpp"

NB_MODULE(_native, module) {
    fairlead::python::bind_operators(module);
    fairlead::python::bind_packed(module);
    fairlead::python::bind_decoder(module);
    fairlead::python::bind_cache(module);
    fairlead::python::bind_reader(module);
    fairlead::python::bind_streamed(module);
    fairlead::python::bind_hybrid(module);
    fairlead::python::bind_unified(module);
    fairlead::python::bind_dense(module);
    fairlead::python::bind_codes(module);
    fairlead::python::bind_tiers(module);
    fairlead::python::bind_lists(module);
    fairlead::python::bind_graph(module);
    fairlead::python::bind_tier_graph(module);
    fairlead::python::bind_radio(module);
    fairlead::python::bind_splat(module);
    fairlead::python::bind_quilt(module);
    fairlead::python::bind_lattice(module);
    fairlead::python::bind_feature_maps(module);
    fairlead::python::bind_local_stage(module);
    fairlead::python::bind_pixels(module);
    fairlead::python::bind_least_map(module);
}

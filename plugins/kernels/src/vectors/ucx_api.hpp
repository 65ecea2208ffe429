#pragma once

#include <string>
#include <ucp/api/ucp.h>

namespace fairlead {

// The functions of libucp that are used, found at run time: a wheel needs no UCX to load.
#define FAIRLEAD_UCX_FUNCTIONS(each)                                                                             \
    each(ucp_config_read) each(ucp_config_release) each(ucp_init_version) each(ucp_cleanup) each(ucp_worker_create)  \
    each(ucp_worker_destroy) each(ucp_worker_get_address) each(ucp_worker_release_address) each(ucp_worker_progress) \
    each(ucp_worker_get_efd) each(ucp_worker_arm) each(ucp_ep_create) each(ucp_ep_close_nbx) each(ucp_ep_flush_nbx)  \
    each(ucp_mem_map) each(ucp_mem_unmap) each(ucp_rkey_pack) each(ucp_rkey_buffer_release) each(ucp_ep_rkey_unpack) \
    each(ucp_rkey_destroy) each(ucp_get_nbx) each(ucp_put_nbx) each(ucp_request_free) each(ucp_request_check_status)

struct UcxApi {
#define FAIRLEAD_UCX_POINTER(name) decltype(&::name) name = nullptr;
    FAIRLEAD_UCX_FUNCTIONS(FAIRLEAD_UCX_POINTER)
#undef FAIRLEAD_UCX_POINTER
    std::string missing;  // empty: all is there
};

const UcxApi& ucx();
// Throws std::runtime_error where the status is an error.
void ucx_check(ucs_status_t status, const char* what);
ucp_context_h ucx_context(bool shared);
ucp_worker_h ucx_worker(ucp_context_h context);

}  // namespace fairlead

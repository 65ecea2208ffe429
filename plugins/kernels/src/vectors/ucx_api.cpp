#include "fairlead/vectors/ucx.hpp"

#if defined(FAIRLEAD_UCX)

#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>

#include "vectors/ucx_api.hpp"

namespace fairlead {
namespace {

UcxApi load() {
    // The host process keeps its own handlers of signals and of memory; whoever set these means it.
    setenv("UCX_HANDLE_ERRORS", "none", 0);
    setenv("UCX_ERROR_SIGNALS", "", 0);
    setenv("UCX_MEM_EVENTS", "n", 0);
    setenv("UCX_LOG_LEVEL", "fatal", 0);
    UcxApi api;
    void* library = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        api.missing = std::string("UCX cannot be loaded (Debian: apt install libucx0): ") + dlerror();
        return api;
    }
#define FAIRLEAD_UCX_FIND(name)                                            \
    api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name)); \
    if (api.name == nullptr) api.missing = "UCX is too old: it has no " #name;
    FAIRLEAD_UCX_FUNCTIONS(FAIRLEAD_UCX_FIND)
#undef FAIRLEAD_UCX_FIND
    return api;
}

}  // namespace

const UcxApi& ucx() {
    static const UcxApi api = load();
    return api;
}

std::string ucx_missing() { return ucx().missing; }

void ucx_check(ucs_status_t status, const char* what) {
    if (status == UCS_OK) return;
    throw std::runtime_error(std::string("UCX: ") + what + ": error " + std::to_string(static_cast<int>(status)));
}

ucp_context_h ucx_context(bool shared) {
    if (!ucx().missing.empty()) throw std::runtime_error(ucx().missing);
    ucp_config_t* config = nullptr;
    ucx_check(ucx().ucp_config_read(nullptr, nullptr, &config), "its settings cannot be read");
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
    params.features = UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP;
    params.mt_workers_shared = shared ? 1 : 0;
    ucp_context_h context = nullptr;
    const ucs_status_t status = ucx().ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context);
    ucx().ucp_config_release(config);
    ucx_check(status, "cannot start");
    return context;
}

ucp_worker_h ucx_worker(ucp_context_h context) {
    ucp_worker_params_t params{};
    params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
    params.thread_mode = UCS_THREAD_MODE_SINGLE;
    ucp_worker_h worker = nullptr;
    ucx_check(ucx().ucp_worker_create(context, &params, &worker), "no worker");
    return worker;
}

}  // namespace fairlead

#else

#include <stdexcept>

namespace fairlead {

struct UcxNode::Implementation {};

std::string ucx_missing() { return "these kernels were built without UCX (Debian: apt install libucx-dev, and build again)"; }
UcxNode::UcxNode() { throw std::runtime_error(ucx_missing()); }
UcxNode::~UcxNode() = default;
const std::string& UcxNode::address() const { throw std::runtime_error(ucx_missing()); }
std::string UcxNode::offer(const std::shared_ptr<TierMemory>&) { throw std::runtime_error(ucx_missing()); }
void UcxNode::withdraw(const std::shared_ptr<TierMemory>&) {}
std::unique_ptr<Tier> make_ucx_tier(std::string url, UcxPlace, double) { throw TierLost(url, ucx_missing()); }

}  // namespace fairlead

#endif

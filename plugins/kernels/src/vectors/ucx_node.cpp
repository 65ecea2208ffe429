#include "fairlead/vectors/ucx.hpp"

#if defined(FAIRLEAD_UCX)

#include <poll.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "vectors/ucx_api.hpp"

namespace fairlead {

struct UcxNode::Implementation {
    ucp_context_h context = nullptr;
    ucp_worker_h worker = nullptr;
    std::string address;
    std::mutex mutex;
    std::map<const TierMemory*, ucp_mem_h> offered;
    std::atomic<bool> stopping{false};
    std::thread thread;

    void serve() {
        int event = -1;
        ucx().ucp_worker_get_efd(worker, &event);
        while (!stopping.load()) {
            while (ucx().ucp_worker_progress(worker) != 0) {
            }
            if (ucx().ucp_worker_arm(worker) != UCS_OK) continue;  // something came meanwhile
            pollfd ready{event, POLLIN, 0};
            poll(&ready, 1, 100);
        }
    }
};

UcxNode::UcxNode() : implementation_(std::make_unique<Implementation>()) {
    Implementation& own = *implementation_;
    own.context = ucx_context(true);
    own.worker = ucx_worker(own.context);
    ucp_address_t* address = nullptr;
    std::size_t length = 0;
    ucx_check(ucx().ucp_worker_get_address(own.worker, &address, &length), "no address");
    own.address.assign(reinterpret_cast<const char*>(address), length);
    ucx().ucp_worker_release_address(own.worker, address);
    own.thread = std::thread([&own] { own.serve(); });
}

UcxNode::~UcxNode() {
    Implementation& own = *implementation_;
    own.stopping.store(true);
    if (own.thread.joinable()) own.thread.join();
    for (const auto& [memory, handle] : own.offered) ucx().ucp_mem_unmap(own.context, handle);
    ucx().ucp_worker_destroy(own.worker);
    ucx().ucp_cleanup(own.context);
}

const std::string& UcxNode::address() const { return implementation_->address; }

std::string UcxNode::offer(const std::shared_ptr<TierMemory>& memory) {
    Implementation& own = *implementation_;
    const std::lock_guard lock(own.mutex);
    ucp_mem_h& handle = own.offered[memory.get()];
    if (handle == nullptr) {
        ucp_mem_map_params_t params{};
        params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
        params.address = memory->data();
        params.length = memory->size();
        ucx_check(ucx().ucp_mem_map(own.context, &params, &handle), "memory cannot be registered");
    }
    void* key = nullptr;
    std::size_t length = 0;
    ucx_check(ucx().ucp_rkey_pack(own.context, handle, &key, &length), "no key of the memory");
    std::string packed(static_cast<const char*>(key), length);
    ucx().ucp_rkey_buffer_release(key);
    return packed;
}

void UcxNode::withdraw(const std::shared_ptr<TierMemory>& memory) {
    Implementation& own = *implementation_;
    const std::lock_guard lock(own.mutex);
    const auto found = own.offered.find(memory.get());
    if (found == own.offered.end()) return;
    ucx().ucp_mem_unmap(own.context, found->second);
    own.offered.erase(found);
}

}  // namespace fairlead

#endif

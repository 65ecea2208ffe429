#include "fairlead/vectors/ucx.hpp"

#if defined(FAIRLEAD_UCX)

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "vectors/pending_tickets.hpp"
#include "vectors/ucx_api.hpp"
#include "vectors/waiting.hpp"

namespace fairlead {
namespace {

constexpr std::uint32_t kSlot = 16 * 1024;
constexpr std::size_t kDepth = 128;
constexpr int kLooks = 4096;  // at the worker, before naps

struct Piece {
    std::uint64_t ticket = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::byte* into = nullptr;
    void* request = nullptr;
};

// One-sided gets into registered slots. What a stalled network still owes goes there, never to memory of callers.
class UcxTier final : public Tier {
public:
    UcxTier(std::string url, UcxPlace place, double timeout)
        : Tier(std::move(url), place.size, timeout), place_(std::move(place)) {}

    ~UcxTier() override {
        if (place_.control >= 0) ::close(place_.control);
        if (context_ == nullptr) return;
        if (!flying_.empty()) {  // still owed: the worker and its memory stay, as the system would leave them
            (void)new std::shared_ptr<TierMemory>(slots_);
            return;
        }
        if (key_ != nullptr) ucx().ucp_rkey_destroy(key_);
        if (endpoint_ != nullptr) close_endpoint();
        if (registered_ != nullptr) ucx().ucp_mem_unmap(context_, registered_);
        if (worker_ != nullptr) ucx().ucp_worker_destroy(worker_);
        ucx().ucp_cleanup(context_);
    }

    void connect() {
        context_ = ucx_context(false);
        worker_ = ucx_worker(context_);
        slots_ = TierMemory::anonymous(kDepth * kSlot);
        ucp_mem_map_params_t map{};
        map.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
        map.address = slots_->data();
        map.length = slots_->size();
        ucx_check(ucx().ucp_mem_map(context_, &map, &registered_), "memory cannot be registered");
        ucp_ep_params_t params{};
        params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
        params.address = reinterpret_cast<const ucp_address_t*>(place_.node.data());
        ucx_check(ucx().ucp_ep_create(worker_, &params, &endpoint_), "no way to the memory node");
        ucx_check(ucx().ucp_ep_rkey_unpack(endpoint_, place_.key.data(), &key_), "the region's key is not understood");
        pieces_.resize(kDepth);
        for (std::size_t i = kDepth; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
    }

    const char* kind() const override { return "ucx"; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        if (given_up_) late();
        check_node();  // memory that is lent no more may be read by one-sided gets all the same
        count(reads);
        std::uint32_t parts = 0;
        for (const TierRead& read : reads) parts += (read.length + kSlot - 1) / kSlot;
        if (parts == 0) return 0;
        const std::uint64_t ticket = tickets_.open(parts, monotonic_seconds() + timeout());
        for (const TierRead& read : reads) {
            for (std::uint32_t at = 0; at < read.length; at += kSlot) {
                queue_.push_back({ticket, read.offset + at, std::min(kSlot, read.length - at), read.into + at, nullptr});
            }
        }
        start();
        return ticket;
    }

    bool done(std::uint64_t ticket) override {
        if (tickets_.done(ticket)) return true;
        collect();
        // What has just arrived has no deadline any more.
        if (tickets_.done(ticket)) return true;
        if (++polls_ % 256 == 0) check(tickets_.deadline(ticket));
        return false;
    }

    void wait(std::uint64_t ticket) override {
        for (int looks = 0; !tickets_.done(ticket); ++looks) {
            collect();
            if (tickets_.done(ticket)) return;
            pause(looks, tickets_.deadline(ticket));
        }
    }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        if (given_up_) late();
        for (std::size_t at = 0; at < bytes.size(); at += kSlot) {
            put(offset + at, bytes.subspan(at, std::min<std::size_t>(kSlot, bytes.size() - at)));
        }
    }

private:
    void close_endpoint() {
        ucp_request_param_t param{};
        param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
        param.flags = UCP_EP_CLOSE_FLAG_FORCE;
        void* request = ucx().ucp_ep_close_nbx(endpoint_, &param);
        const double deadline = monotonic_seconds() + 0.2;
        while (UCS_PTR_IS_PTR(request) && ucx().ucp_request_check_status(request) == UCS_INPROGRESS &&
               monotonic_seconds() < deadline) {
            ucx().ucp_worker_progress(worker_);
        }
        if (UCS_PTR_IS_PTR(request)) ucx().ucp_request_free(request);
    }

    void start() {
        while (!queue_.empty() && !free_.empty()) {
            const std::uint32_t slot = free_.back();
            Piece piece = queue_.front();
            ucp_request_param_t param{};
            void* request = ucx().ucp_get_nbx(endpoint_, slots_->data() + std::size_t{slot} * kSlot, piece.length,
                                              place_.address + piece.offset, key_, &param);
            if (UCS_PTR_IS_ERR(request)) fail(UCS_PTR_STATUS(request));
            queue_.pop_front();
            free_.pop_back();
            piece.request = request;
            pieces_[slot] = piece;
            if (request == nullptr) {
                settle(slot);
            } else {
                flying_.push_back(slot);
            }
        }
    }

    void settle(std::uint32_t slot) {
        const Piece& piece = pieces_[slot];
        if (piece.into != nullptr) std::memcpy(piece.into, slots_->data() + std::size_t{slot} * kSlot, piece.length);
        free_.push_back(slot);
        tickets_.arrived(piece.ticket);
    }

    void collect() {
        ucx().ucp_worker_progress(worker_);
        for (std::size_t i = 0; i < flying_.size();) {
            const std::uint32_t slot = flying_[i];
            const ucs_status_t status = ucx().ucp_request_check_status(pieces_[slot].request);
            if (status == UCS_INPROGRESS) {
                ++i;
                continue;
            }
            ucx().ucp_request_free(pieces_[slot].request);
            flying_[i] = flying_.back();
            flying_.pop_back();
            if (status != UCS_OK) fail(status);
            settle(slot);
        }
        start();
    }

    void put(std::uint64_t offset, std::span<const std::byte> bytes) {
        const double deadline = monotonic_seconds() + timeout();
        while (free_.empty()) {
            collect();
            check(deadline);
        }
        const std::uint32_t slot = free_.back();
        std::byte* from = slots_->data() + std::size_t{slot} * kSlot;
        std::memcpy(from, bytes.data(), bytes.size());
        ucp_request_param_t param{};
        finish(ucx().ucp_put_nbx(endpoint_, from, bytes.size(), place_.address + offset, key_, &param), deadline);
        finish(ucx().ucp_ep_flush_nbx(endpoint_, &param), deadline);
    }

    void finish(void* request, double deadline) {
        if (request == nullptr) return;
        if (UCS_PTR_IS_ERR(request)) fail(UCS_PTR_STATUS(request));
        ucs_status_t status = UCS_INPROGRESS;
        for (int looks = 0; status == UCS_INPROGRESS; ++looks) {
            ucx().ucp_worker_progress(worker_);
            status = ucx().ucp_request_check_status(request);
            if (status == UCS_INPROGRESS) pause(looks, deadline);
        }
        ucx().ucp_request_free(request);
        if (status != UCS_OK) fail(status);
    }

    void pause(int looks, double deadline) {
        if (looks % 256 == 255 || looks > kLooks) check(deadline);
        if (looks > kLooks) sleep_ns(20'000);
    }

    void check_node() {
        char byte;
        const ssize_t got = recv(place_.control, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            forget();
            lost("the memory node has ended, or lends it no more");
        }
    }

    void check(double deadline) {
        check_node();
        if (monotonic_seconds() <= deadline) return;
        forget();
        late();
    }

    [[noreturn]] void fail(ucs_status_t status) {
        forget();
        lost("UCX failed with error " + std::to_string(static_cast<int>(status)));
    }

    void forget() {
        given_up_ = true;
        queue_.clear();
        for (Piece& piece : pieces_) piece.into = nullptr;
    }

    UcxPlace place_;
    ucp_context_h context_ = nullptr;
    ucp_worker_h worker_ = nullptr;
    ucp_ep_h endpoint_ = nullptr;
    ucp_rkey_h key_ = nullptr;
    ucp_mem_h registered_ = nullptr;
    std::shared_ptr<TierMemory> slots_;
    std::vector<Piece> pieces_;
    std::vector<std::uint32_t> free_;
    std::vector<std::uint32_t> flying_;
    std::deque<Piece> queue_;
    PendingTickets tickets_;
    std::uint64_t polls_ = 0;
    bool given_up_ = false;
};

}  // namespace

std::unique_ptr<Tier> make_ucx_tier(std::string url, UcxPlace place, double timeout) {
    auto tier = std::make_unique<UcxTier>(url, std::move(place), timeout);
    try {
        tier->connect();
    } catch (const std::runtime_error& error) {
        throw TierLost(url, error.what());
    }
    return tier;
}

}  // namespace fairlead

#endif

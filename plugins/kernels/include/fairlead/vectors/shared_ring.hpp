#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "fairlead/vectors/tier.hpp"

namespace fairlead {

// A segment of shared memory in which clients ask a server for reads of a region, as a network card is asked: they
// write descriptors, the server copies, and says so when the delay is over. The delay costs a client no instruction.
inline constexpr std::uint64_t kRingMagic = 0x31474e4952414c46;  // "FLARING1"
inline constexpr std::uint32_t kRingSlots = 64;                  // clients at a time
inline constexpr std::uint32_t kRingDepth = 1024;                // descriptors of a client in flight
inline constexpr std::uint32_t kRingLanding = 1 << 20;           // bytes of a client that the server copies to
inline constexpr std::uint32_t kRingOrphan = 0xffffffff;         // owner of a slot whose client has left work behind

struct RingDescriptor {
    std::uint64_t offset;
    std::uint32_t length;
    std::uint32_t landing;  // offset in the slot's landing
    std::uint64_t since;    // ns on CLOCK_MONOTONIC
};

struct RingSlot {
    std::uint32_t delay_ns;
    std::atomic<std::uint32_t> refused;  // set by the server for descriptors that leave region or landing
    std::atomic<std::uint32_t> asleep;   // 1: the client waits on it
    alignas(64) std::atomic<std::uint64_t> submitted;
    alignas(64) std::atomic<std::uint64_t> completed;
    alignas(64) RingDescriptor descriptors[kRingDepth];
    alignas(4096) std::byte landing[kRingLanding];
};

struct RingSegment {
    std::atomic<std::uint64_t> magic;  // written last
    std::uint64_t region_size;
    std::uint32_t server_pid;
    std::atomic<std::uint32_t> serving;
    alignas(64) std::atomic<std::uint32_t> asleep;  // 1: the server waits on it
    alignas(64) std::atomic<std::uint32_t> owners[kRingSlots];  // process ids, 0: free; side by side for who looks at all
    alignas(4096) RingSlot slots[kRingSlots];
};

// Serves a region through a segment of sizeof(RingSegment) bytes, in the thread that calls serve().
class SharedServer {
public:
    SharedServer(std::shared_ptr<TierMemory> region, std::shared_ptr<TierMemory> segment);
    ~SharedServer();
    // Until stop(), which any thread may call. `spin` seconds without work pass before it sleeps.
    void serve(double spin = 100e-6);
    void stop();
    std::uint64_t reads() const { return reads_.load(std::memory_order_relaxed); }
    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

private:
    struct Seen {
        std::uint64_t copied = 0;
        std::uint64_t completed = 0;
    };
    bool attend(RingSlot& slot, Seen& seen);
    void copy(RingSlot& slot, std::uint64_t number, std::uint64_t submitted);
    void sleep();
    void reap();
    bool waiting() const;

    std::shared_ptr<TierMemory> region_;
    std::shared_ptr<TierMemory> memory_;
    RingSegment* segment_;
    Seen seen_[kRingSlots];
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> reads_{0};
    std::atomic<std::uint64_t> bytes_{0};
};

// A client. `region` is mapped for writes only. Throws TierLost where nobody serves or all slots are taken.
std::unique_ptr<Tier> make_shared_tier(std::string url, std::shared_ptr<TierMemory> region, std::shared_ptr<TierMemory> segment,
                                       double delay, double timeout);

}  // namespace fairlead

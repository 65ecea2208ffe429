#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "fairlead/vectors/shared_ring.hpp"
#include "vectors/waiting.hpp"

namespace fairlead {

namespace {

constexpr std::uint64_t kAhead = 12;  // descriptors whose bytes are on their way

bool gone(std::uint32_t process) { return kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH; }

}  // namespace

SharedServer::SharedServer(std::shared_ptr<TierMemory> region, std::shared_ptr<TierMemory> segment)
    : region_(std::move(region)), memory_(std::move(segment)) {
    if (memory_->size() < sizeof(RingSegment)) throw std::invalid_argument("segment: is smaller than a ring's");
    segment_ = reinterpret_cast<RingSegment*>(memory_->data());
    segment_->region_size = region_->size();
    segment_->server_pid = static_cast<std::uint32_t>(getpid());
    segment_->serving.store(1);
    segment_->magic.store(kRingMagic);
}

SharedServer::~SharedServer() { segment_->serving.store(0); }

void SharedServer::stop() {
    stopping_.store(true);
    segment_->serving.store(0);
    wake(segment_->asleep);
}

void SharedServer::serve(double spin) {
    const auto patience = static_cast<std::uint64_t>(spin * 1e9);
    std::uint64_t busy_until = monotonic_ns() + patience;
    while (!stopping_.load(std::memory_order_relaxed)) {
        bool busy = false;
        for (std::uint32_t i = 0; i < kRingSlots; ++i) {
            if (segment_->owners[i].load(std::memory_order_acquire) != 0) busy |= attend(segment_->slots[i], seen_[i]);
        }
        if (busy) {
            busy_until = monotonic_ns() + patience;
        } else {
            relax();
            if (monotonic_ns() > busy_until) sleep();
        }
    }
}

// Copies what is new, and completes what is due; whether anything is under way.
bool SharedServer::attend(RingSlot& slot, Seen& seen) {
    const std::uint64_t submitted = slot.submitted.load(std::memory_order_acquire);
    if (submitted - seen.copied > kRingDepth) {  // of somebody who does not keep the rules
        slot.refused.store(1);
        return false;
    }
    for (; seen.copied < submitted; ++seen.copied) copy(slot, seen.copied, submitted);
    if (seen.completed == seen.copied) return false;
    const std::uint64_t now = slot.delay_ns == 0 ? ~std::uint64_t{0} : monotonic_ns();
    const std::uint64_t before = seen.completed;
    while (seen.completed < seen.copied && slot.descriptors[seen.completed % kRingDepth].since + slot.delay_ns <= now) {
        ++seen.completed;
    }
    if (seen.completed == before) return true;
    slot.completed.store(seen.completed, std::memory_order_seq_cst);
    if (slot.asleep.load(std::memory_order_seq_cst) != 0) wake(slot.asleep);
    return true;
}

void SharedServer::copy(RingSlot& slot, std::uint64_t number, std::uint64_t submitted) {
    if (number + kAhead < submitted) {
        const RingDescriptor next = slot.descriptors[(number + kAhead) % kRingDepth];
        if (next.offset < region_->size()) {
            for (std::uint32_t at = 0; at < next.length && at < 4096; at += 64) {
                __builtin_prefetch(region_->data() + next.offset + at, 0, 2);
            }
        }
    }
    const RingDescriptor asked = slot.descriptors[number % kRingDepth];  // a copy: its owner may change it meanwhile
    const bool inside = asked.length <= region_->size() && asked.offset <= region_->size() - asked.length &&
                        asked.length <= kRingLanding && asked.landing <= kRingLanding - asked.length;
    if (!inside) {
        slot.refused.store(1);
        return;
    }
    std::memcpy(slot.landing + asked.landing, region_->data() + asked.offset, asked.length);
    reads_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(asked.length, std::memory_order_relaxed);
}

bool SharedServer::waiting() const {
    for (std::uint32_t i = 0; i < kRingSlots; ++i) {
        const RingSlot& slot = segment_->slots[i];
        if (segment_->owners[i].load() != 0 && slot.submitted.load() != seen_[i].completed) return true;
    }
    return false;
}

void SharedServer::sleep() {
    reap();
    segment_->asleep.store(1);
    if (!waiting() && !stopping_.load()) wait_on(segment_->asleep, 1, 0.1);
    segment_->asleep.store(0);
}

// Slots whose client ended without a word, or left while work was under way, are free again.
void SharedServer::reap() {
    for (std::uint32_t i = 0; i < kRingSlots; ++i) {
        RingSlot& slot = segment_->slots[i];
        std::uint32_t owner = segment_->owners[i].load();
        if (owner == 0 || (owner != kRingOrphan && !gone(owner))) continue;
        seen_[i].copied = seen_[i].completed = slot.submitted.load();
        slot.completed.store(seen_[i].completed);
        segment_->owners[i].compare_exchange_strong(owner, 0);
    }
}

}  // namespace fairlead

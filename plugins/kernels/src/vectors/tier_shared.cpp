#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "fairlead/vectors/shared_ring.hpp"
#include "vectors/pending_tickets.hpp"
#include "vectors/waiting.hpp"

namespace fairlead {
namespace {

constexpr std::uint32_t kZone = kRingLanding / 2;  // the first half is the caller's, the second lends to other memory
constexpr std::uint32_t kPiece = 64 * 1024;
constexpr int kLooks = 1000;  // some 40 microseconds, then it sleeps

struct Piece {
    std::uint64_t ticket;
    std::uint64_t offset;
    std::uint32_t length;
    std::byte* into;
    std::uint32_t landing;
    std::uint32_t taken;  // bytes of the lent half, with what was skipped at its end
};

int descriptor_of(std::uint32_t process) {
#if defined(SYS_pidfd_open)
    return static_cast<int>(syscall(SYS_pidfd_open, process, 0));
#else
    return -1;
#endif
}

class SharedTier final : public Tier {
public:
    SharedTier(std::string url, std::shared_ptr<TierMemory> region, std::shared_ptr<TierMemory> segment, double timeout)
        : Tier(std::move(url), reinterpret_cast<RingSegment*>(segment->data())->region_size, timeout),
          region_(std::move(region)),
          memory_(std::move(segment)),
          segment_(reinterpret_cast<RingSegment*>(memory_->data())) {}

    ~SharedTier() override {
        if (slot_ != nullptr) {
            const bool idle = slot_->completed.load() == slot_->submitted.load();
            segment_->owners[slot_ - segment_->slots].store(idle ? 0 : kRingOrphan);
        }
        if (process_ >= 0) ::close(process_);
    }

    void attach(double delay) {
        if (segment_->magic.load() != kRingMagic || segment_->serving.load() == 0) lost("nobody serves it");
        process_ = descriptor_of(segment_->server_pid);
        if (process_ < 0 && errno == ESRCH) lost("the process that serves it has ended");
        check_alive();
        for (std::uint32_t i = 0; i < kRingSlots; ++i) {
            std::uint32_t nobody = 0;
            if (!segment_->owners[i].compare_exchange_strong(nobody, static_cast<std::uint32_t>(getpid()))) continue;
            RingSlot& slot = segment_->slots[i];
            slot_ = &slot;
            slot.delay_ns = static_cast<std::uint32_t>(delay * 1e9);
            slot.refused.store(0);
            submitted_ = collected_ = slot.submitted.load();
            return;
        }
        lost("all " + std::to_string(kRingSlots) + " clients that it can have are there");
    }

    const char* kind() const override { return "shm"; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        if (given_up_) late();
        count(reads);
        std::uint32_t parts = 0;
        for (const TierRead& read : reads) parts += (read.length + kPiece - 1) / kPiece;
        if (parts == 0) return 0;
        const std::uint64_t ticket = tickets_.open(parts, monotonic_seconds() + timeout());
        for (const TierRead& read : reads) {
            for (std::uint32_t at = 0; at < read.length; at += kPiece) {
                const std::uint32_t length = std::min(kPiece, read.length - at);
                queue_.push_back({ticket, read.offset + at, length, read.into + at, 0, 0});
            }
        }
        start();
        return ticket;
    }

    bool done(std::uint64_t ticket) override {
        collect();
        if (!tickets_.done(ticket) && ++polls_ % 256 == 0) check(ticket);
        return tickets_.done(ticket);
    }

    void wait(std::uint64_t ticket) override {
        for (int looks = 0; collect(), !tickets_.done(ticket); ++looks) {
            if (looks < kLooks) {
                relax();
            } else {
                sleep();
                check(ticket);
            }
        }
    }

    std::span<std::byte> landing(std::size_t bytes) override {
        if (bytes > kZone) return Tier::landing(bytes);
        return {slot_->landing, kZone};
    }

    std::size_t most_landing() const override { return kZone; }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        if (segment_->serving.load() == 0) lost("is not served any more");
        if (!region_->writable()) lost("is mapped for reading only");
        std::memcpy(region_->data() + offset, bytes.data(), bytes.size());
    }

private:
    void check_alive() const {
        if (segment_->serving.load(std::memory_order_relaxed) == 0) lost("is not served any more");
        if (slot_ != nullptr && slot_->refused.load(std::memory_order_relaxed) != 0) lost("the server refused a read");
        pollfd ended{process_, POLLIN, 0};
        if (process_ >= 0 && poll(&ended, 1, 0) > 0) lost("the process that serves it has ended");
    }

    void check(std::uint64_t ticket) {
        check_alive();
        if (monotonic_seconds() <= tickets_.deadline(ticket)) return;
        given_up_ = true;
        queue_.clear();
        out_.clear();
        late();
    }

    // The server wakes who sleeps; the limit is for servers that have died.
    void sleep() {
        slot_->asleep.store(1, std::memory_order_seq_cst);
        if (slot_->completed.load(std::memory_order_seq_cst) == collected_) wait_on(slot_->asleep, 1, 0.005);
        slot_->asleep.store(0, std::memory_order_relaxed);
    }

    bool in_zone(const Piece& piece) const {
        return piece.into >= slot_->landing && piece.into + piece.length <= slot_->landing + kZone;
    }

    // Where a piece lands: in the caller's zone itself, or in the lent half, used in a circle.
    bool place(Piece& piece) {
        piece.taken = 0;
        if (in_zone(piece)) {
            piece.landing = static_cast<std::uint32_t>(piece.into - slot_->landing);
            return true;
        }
        const std::uint32_t need = (piece.length + 63) / 64 * 64;
        const std::uint32_t skipped = head_ + need > kZone ? kZone - head_ : 0;
        if (lent_ + skipped + need > kZone) return false;
        const std::uint32_t at = skipped > 0 ? 0 : head_;
        piece.landing = kZone + at;
        piece.taken = skipped + need;
        head_ = (at + need) % kZone;
        lent_ += piece.taken;
        return true;
    }

    void start() {
        if (queue_.empty()) return;
        const std::uint64_t before = submitted_;
        const std::uint64_t since = monotonic_ns();
        while (!queue_.empty() && out_.size() < kRingDepth && place(queue_.front())) {
            const Piece& piece = queue_.front();
            slot_->descriptors[submitted_++ % kRingDepth] = {piece.offset, piece.length, piece.landing, since};
            out_.push_back(piece);
            queue_.pop_front();
        }
        if (submitted_ == before) return;
        slot_->submitted.store(submitted_, std::memory_order_seq_cst);
        if (segment_->asleep.load(std::memory_order_seq_cst) != 0) wake(segment_->asleep);
    }

    void collect() {
        const std::uint64_t completed = slot_->completed.load(std::memory_order_acquire);
        if (completed == collected_ || given_up_) return;
        if (slot_->refused.load(std::memory_order_relaxed) != 0) lost("the server refused a read");
        for (; collected_ < completed; ++collected_) {
            const Piece piece = out_.front();
            out_.pop_front();
            if (piece.taken > 0) std::memcpy(piece.into, slot_->landing + piece.landing, piece.length);
            lent_ -= piece.taken;
            tickets_.arrived(piece.ticket);
        }
        start();
    }

    std::shared_ptr<TierMemory> region_;
    std::shared_ptr<TierMemory> memory_;
    RingSegment* segment_;
    RingSlot* slot_ = nullptr;
    int process_ = -1;
    std::uint64_t submitted_ = 0;
    std::uint64_t collected_ = 0;
    std::uint64_t polls_ = 0;
    std::uint32_t head_ = 0;
    std::uint32_t lent_ = 0;
    bool given_up_ = false;
    PendingTickets tickets_;
    std::deque<Piece> queue_;
    std::deque<Piece> out_;
};

}  // namespace

std::unique_ptr<Tier> make_shared_tier(std::string url, std::shared_ptr<TierMemory> region, std::shared_ptr<TierMemory> segment,
                                       double delay, double timeout) {
    if (!(delay >= 0.0 && delay <= 1.0)) throw std::invalid_argument(url + ": delay must be 0 to 1 s");
    if (segment->size() < sizeof(RingSegment)) throw TierLost(url, "its segment is too small: nobody serves it");
    auto tier = std::make_unique<SharedTier>(std::move(url), std::move(region), std::move(segment), timeout);
    tier->attach(delay);
    return tier;
}

}  // namespace fairlead

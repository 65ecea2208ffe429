#include <cstring>

#include "fairlead/vectors/tier.hpp"

namespace fairlead {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kAhead = 16 * 1024;  // bytes on their way while others are copied

// Loads from memory that is mapped here. Copies of a batch overlap by prefetching the next ones.
class MemoryTier final : public Tier {
public:
    MemoryTier(std::string url, std::shared_ptr<TierMemory> memory, const char* kind)
        : Tier(std::move(url), memory->size(), kTierTimeout), memory_(std::move(memory)), kind_(kind) {}

    const char* kind() const override { return kind_; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        count(reads);
        std::size_t fetched = 0;
        std::size_t ahead = 0;
        for (std::size_t i = 0; i < reads.size(); ++i) {
            while (fetched < reads.size() && (ahead < kAhead || fetched <= i)) ahead += prefetch(reads[fetched++]);
            std::memcpy(reads[i].into, memory_->data() + reads[i].offset, reads[i].length);
            ahead -= reads[i].length;
        }
        return 0;
    }

    bool done(std::uint64_t) override { return true; }
    void wait(std::uint64_t) override {}

    const std::byte* direct(std::uint64_t offset) const override { return memory_->data() + offset; }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        if (!memory_->writable()) lost("is mapped for reading only");
        std::memcpy(memory_->data() + offset, bytes.data(), bytes.size());
    }

private:
    std::size_t prefetch(const TierRead& read) const {
        const std::byte* begin = memory_->data() + read.offset;
        const std::size_t bytes = read.length < kAhead ? read.length : kAhead;
        for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(begin + at, 0, 2);
        return read.length;
    }

    std::shared_ptr<TierMemory> memory_;
    const char* kind_;
};

}  // namespace

std::unique_ptr<Tier> make_memory_tier(std::string url, std::shared_ptr<TierMemory> memory, const char* kind) {
    return std::make_unique<MemoryTier>(std::move(url), std::move(memory), kind);
}

}  // namespace fairlead

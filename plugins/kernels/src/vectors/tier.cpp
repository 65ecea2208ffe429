#include "fairlead/vectors/tier.hpp"

#include <chrono>

namespace fairlead {

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Tier::Tier(std::string url, std::uint64_t size, double timeout) : url_(std::move(url)), size_(size), timeout_(timeout) {
    if (!(timeout > 0.0 && timeout <= 3600.0)) throw std::invalid_argument(url_ + ": timeout must be above 0, at most 3600 s");
}

std::span<std::byte> Tier::landing(std::size_t bytes) {
    if (!landing_ || landing_->size() < bytes) landing_ = TierMemory::anonymous(bytes);
    return landing_->bytes();
}

void Tier::check_range(std::uint64_t offset, std::uint64_t length) const {
    if (length <= size() && offset <= size() - length) return;
    throw std::out_of_range(url_ + ": " + std::to_string(length) + " bytes at offset " + std::to_string(offset) +
                            " leave the region of " + std::to_string(size()) + " bytes");
}

void Tier::count(std::span<const TierRead> reads) {
    for (const TierRead& read : reads) check_range(read.offset, read.length);
    ++counters_.batches;
    counters_.reads += reads.size();
    for (const TierRead& read : reads) counters_.bytes += read.length;
}

void Tier::late() const {
    throw TierTimeout(url_, "no answer within " + std::to_string(timeout_) + " s");
}

}  // namespace fairlead

#include <algorithm>
#include <unordered_map>

#include "fairlead/vectors/tier.hpp"

namespace fairlead {
namespace {

// Tiers write to memory of their callers only while they are called: one that is left out is called no more.
class ReplicatedTier final : public Tier {
public:
    ReplicatedTier(std::string url, std::vector<std::shared_ptr<Tier>> replicas)
        : Tier(std::move(url), replicas.front()->size(), sum_of_timeouts(replicas)), replicas_(std::move(replicas)) {}

    const char* kind() const override { return replicas_.empty() ? "none" : replicas_.front()->kind(); }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        count(reads);
        Batch batch{{reads.begin(), reads.end()}, nullptr, 0};
        ask(batch);
        batches_.emplace(++last_, std::move(batch));
        return last_;
    }

    bool done(std::uint64_t ticket) override {
        return attend(ticket, [](Tier& tier, std::uint64_t inner) { return tier.done(inner); });
    }

    void wait(std::uint64_t ticket) override {
        while (!attend(ticket, [](Tier& tier, std::uint64_t inner) {
            tier.wait(inner);
            return true;
        })) {
        }
    }

    const std::byte* direct(std::uint64_t offset) const override {
        return replicas_.empty() ? nullptr : replicas_.front()->direct(offset);
    }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        for (std::size_t i = 0; i < replicas_.size();) {
            try {
                replicas_[i]->write(offset, bytes);
                ++i;
            } catch (const TierError& error) {
                leave_out(replicas_[i].get(), error);
            }
        }
        if (replicas_.empty()) lost(why_);
    }

private:
    struct Batch {
        std::vector<TierRead> reads;
        std::shared_ptr<Tier> tier;
        std::uint64_t ticket;
    };

    static double sum_of_timeouts(const std::vector<std::shared_ptr<Tier>>& replicas) {
        double sum = 0.0;
        for (const auto& each : replicas) sum += each->timeout();
        return sum;
    }

    // Hands a batch to the first replica that takes it.
    void ask(Batch& batch) {
        while (!replicas_.empty()) {
            batch.tier = replicas_.front();
            try {
                batch.ticket = batch.tier->submit(batch.reads);
                return;
            } catch (const TierError& error) {
                leave_out(batch.tier.get(), error);
            }
        }
        lost(why_);
    }

    template <class Look>
    bool attend(std::uint64_t ticket, Look look) {
        const auto found = batches_.find(ticket);
        if (found == batches_.end()) return true;
        Batch& batch = found->second;
        try {
            if (!look(*batch.tier, batch.ticket)) return false;
            batches_.erase(found);
            return true;
        } catch (const TierError& error) {
            leave_out(batch.tier.get(), error);
            ask(batch);
            return false;
        }
    }

    void leave_out(const Tier* tier, const TierError& error) {
        why_ = "no replica is left; the last: " + std::string(error.what());
        std::erase_if(replicas_, [&](const auto& each) { return each.get() == tier; });
    }

    std::vector<std::shared_ptr<Tier>> replicas_;
    std::unordered_map<std::uint64_t, Batch> batches_;
    std::uint64_t last_ = 0;
    std::string why_ = "no replica is left";
};

}  // namespace

std::unique_ptr<Tier> make_replicated_tier(std::string url, std::vector<std::shared_ptr<Tier>> replicas) {
    if (replicas.empty()) throw TierLost(url, "no replica answers");
    for (const auto& each : replicas) {
        if (each->size() != replicas.front()->size()) throw std::invalid_argument(url + ": replicas must have one size");
    }
    return std::make_unique<ReplicatedTier>(std::move(url), std::move(replicas));
}

}  // namespace fairlead

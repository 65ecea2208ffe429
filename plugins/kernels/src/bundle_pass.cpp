// How a prompt goes through the networks of a bundle store: all neurons, in the order of the file, in large reads.
#include <algorithm>

#include "fairlead/bundle_store.hpp"

namespace fairlead {

std::uint8_t* BundleStore::lend_pass_rows() {
    if (granted_ <= pass_slots_) {
        spare_.resize(shape_.pass_row_bytes());
        return spare_.data();
    }
    const std::size_t left = granted_ - pass_slots_;
    if (!lent_ && left < total_slots_) {
        settle();
        fit(left);
    }
    lent_ = true;
    return pool_ + left * shape_.slot_bytes();
}

void BundleStore::take_back() {
    spare_ = {};
    if (!std::exchange(lent_, false) || cache_.slots() == total_slots_) return;
    settle();
    fit(granted_);
}

void BundleStore::plan_pass(std::size_t network, std::vector<std::pair<std::size_t, Slot>>& cached,
                            std::vector<Chunk>& missing) {
    settle();
    const std::size_t clusters = shape_.clusters(network);
    const auto slot_of = [&](std::size_t cluster) {
        const Slot slot = cache_.peek(item(network, cluster));
        return slot != NeuronCache::kNone && whole(slot) ? slot : NeuronCache::kNone;
    };
    for (std::size_t begin = 0; begin < clusters; begin += options_.group) {
        std::size_t first = begin;
        std::size_t end = std::min(begin + options_.group, clusters);
        for (; first < end && slot_of(first) != NeuronCache::kNone; ++first) cached.emplace_back(first, slot_of(first));
        for (; first < end && slot_of(end - 1) != NeuronCache::kNone; --end) cached.emplace_back(end - 1, slot_of(end - 1));
        if (first < end) missing.push_back({first, end - first, nullptr});
    }
}

void BundleStore::keep(std::size_t network, const Chunk& chunk) {
    const std::size_t group = chunk.first / options_.group;
    for (const auto& [item, slot] : cache_.admit_group(network, group)) {
        await(slot);
        const std::size_t cluster = item % cache_.shape().clusters;
        if (cluster < chunk.first || cluster >= chunk.first + chunk.count) {
            stage(slot) = Stage::empty;
            cache_.forget(slot);
            continue;
        }
        take({item, 1, Extent::whole}, slot, chunk.data + (cluster - chunk.first) * shape_.cluster_bytes);
    }
    // What is free is filled; nothing gives way to it.
    for (std::size_t i = 0; i < chunk.count && cache_.used() < cache_.slots(); ++i) {
        const Item item = this->item(network, chunk.first + i);
        if (cache_.peek(item) != NeuronCache::kNone) continue;
        const Slot slot = cache_.admit(item);
        await(slot);
        take({item, 1, Extent::whole}, slot, chunk.data + i * shape_.cluster_bytes);
    }
    cache_.release();
}

void BundleStore::pass(std::size_t network, const std::vector<Chunk>& missing,
                       const std::function<void(const Chunk&)>& use) {
    std::vector<std::uint32_t> tag_of(missing.size());
    std::vector<bool> there(tags(), false);
    std::size_t asked = 0;
    for (std::size_t i = 0; i < missing.size(); ++i) {
        batch_.clear();
        for (; asked < missing.size() && !large_.empty(); ++asked) {
            const std::uint32_t tag = tag_of[asked] = large_.back();
            large_.pop_back();
            const Chunk& chunk = missing[asked];
            runs_[tag] = {item(network, chunk.first), static_cast<std::uint32_t>(chunk.count), Extent::whole};
            batch_.push_back(read_of(runs_[tag], tag));
        }
        reads_ += batch_.size();
        reader_.submit(batch_.data(), batch_.size());
        while (!there[tag_of[i]]) {
            finished_.clear();
            reader_.wait(finished_, true);
            for (const std::uint32_t tag : finished_) there[tag] = true;
        }
        const Chunk chunk{missing[i].first, missing[i].count, buffer(tag_of[i])};
        use(chunk);
        keep(network, chunk);
        there[tag_of[i]] = false;
        large_.push_back(tag_of[i]);
    }
}

}  // namespace fairlead

// The reads of a bundle store: what is asked for in few of them, what they bring, and what becomes of those that fail.
#include <algorithm>
#include <cstring>

#include "fairlead/bundle_store.hpp"

namespace fairlead {
namespace {

// What is read through rather than read around: another read costs a disk about what three more blocks cost.
constexpr std::size_t kGapBytes = 3 * kBlock;

}  // namespace

void BundleStore::free_tags() {
    small_.clear();
    large_.clear();
    const auto depth = static_cast<std::uint32_t>(options_.depth);
    for (std::uint32_t tag = depth; tag-- > 0;) small_.push_back(tag);
    for (std::uint32_t tag = depth + kLarge; tag-- > depth;) large_.push_back(tag);
}

std::uint8_t* BundleStore::buffer(std::uint32_t tag) const {
    if (tag < options_.depth) return buffers_ + tag * small_bytes_;
    return buffers_ + options_.depth * small_bytes_ + (tag - options_.depth) * large_bytes_;
}

// Neighbours on disk, and those with a small gap between them, become one read.
void BundleStore::merge(std::vector<Item>& wanted, Extent extent) {
    const std::size_t clusters = cache_.shape().clusters;
    const auto reach = static_cast<Item>(1 + kGapBytes / shape_.cluster_bytes);
    std::sort(wanted.begin(), wanted.end());
    for (std::size_t i = 0; i < wanted.size();) {
        const Item first = wanted[i];
        Item last = first;
        for (++i; i < wanted.size(); ++i) {
            const Item next = wanted[i];
            if (next - last > reach || next - first >= options_.run || next / clusters != first / clusters) break;
            if (suspected(last, next)) break;
            last = next;
        }
        queue_.push_back({first, last - first + 1, extent});
    }
    wanted.clear();
}

void BundleStore::start() {
    merge(wanted_, shape_.two_phases() ? Extent::first : Extent::whole);
    merge(wanted_rest_, Extent::rest);
    pump();
}

std::size_t BundleStore::begin_of(Extent extent) const {
    return extent == Extent::rest ? shape_.rest_begin() : 0;
}

std::size_t BundleStore::bytes_of(const Run& run) const {
    if (run.extent == Extent::first) return shape_.first_bytes();
    return run.count * shape_.cluster_bytes - begin_of(run.extent);
}

BlockRead BundleStore::read_of(const Run& run, std::uint32_t tag) const {
    const std::size_t network = run.item / cache_.shape().clusters;
    const std::uint64_t cluster = run.item % cache_.shape().clusters;
    const std::uint64_t offset = shape_.networks[network].offset + cluster * shape_.cluster_bytes;
    return {offset + begin_of(run.extent), static_cast<std::uint32_t>(bytes_of(run)), tag, buffer(tag)};
}

void BundleStore::pump() {
    batch_.clear();
    for (; queued_ < queue_.size() && !small_.empty(); ++queued_) {
        const std::uint32_t tag = small_.back();
        small_.pop_back();
        Run& run = runs_[tag] = queue_[queued_];
        // Without gate rows to keep, the blocks before the others need not be read.
        if (shape_.resident_gates && run.count == 1 && shape_.rest_begin() > 0) run.extent = Extent::rest;
        batch_.push_back(read_of(run, tag));
    }
    if (queued_ == queue_.size()) {
        queue_.clear();
        queued_ = 0;
    }
    reads_ += batch_.size();
    reader_.submit(batch_.data(), batch_.size());
}

// Copies rows [first, first + count) of each bundle; `cluster` is where byte 0 of the cluster would lie.
void BundleStore::copy_rows(Slot slot, const std::uint8_t* cluster, std::size_t first, std::size_t count) {
    const std::size_t width = shape_.row_bytes();
    std::uint8_t* to = pool_ + static_cast<std::size_t>(slot) * shape_.slot_bytes();
    const std::size_t shift = shape_.resident_gates ? 1 : 0;
    for (std::size_t j = 0; j < shape_.cluster_neurons; ++j) {
        std::memcpy(to + j * shape_.slot_stride() + (first - shift) * width,
                    cluster + j * shape_.stride() + first * width, count * width);
    }
}

// Whether a slot waits for what a read of this extent brings.
bool BundleStore::awaits(Slot slot, Extent extent) const {
    const Stage now = stage_[static_cast<std::size_t>(slot)];
    if (extent == Extent::first) return now == Stage::reading;
    if (extent == Extent::rest && !shape_.resident_gates) return now == Stage::rest;
    return now != Stage::empty && now != Stage::whole;
}

// Takes what a read brought for a slot; false where the slot does not wait for it.
bool BundleStore::take(const Run& run, Slot slot, const std::uint8_t* cluster) {
    if (!awaits(slot, run.extent)) return false;
    if (run.extent == Extent::first) {
        copy_rows(slot, cluster, 0, 1);
        stage(slot) = Stage::first;
    } else {
        const std::size_t first = run.extent == Extent::rest || shape_.resident_gates ? 1 : 0;
        copy_rows(slot, cluster, first, shape_.matrices - first);
        stage(slot) = Stage::whole;
    }
    cache_.arrived(slot);
    return true;
}

void BundleStore::deliver(std::uint32_t tag, std::vector<Slot>& arrived) {
    const Run& run = runs_[tag];
    // Only computed with, never read from, before the first byte that was read.
    const std::uint8_t* data = buffer(tag) - begin_of(run.extent);
    for (std::uint32_t i = 0; i < run.count; ++i) {
        const Slot slot = cache_.peek(run.item + i);
        if (slot == NeuronCache::kNone) continue;
        if (take(run, slot, data + i * shape_.cluster_bytes)) arrived.push_back(slot);
    }
    if (run.count == 1) suspect_[run.item] = 0;
    release_tag(tag);
}

void BundleStore::release_tag(std::uint32_t tag) { (tag < options_.depth ? small_ : large_).push_back(tag); }

bool BundleStore::suspected(Item first, Item last) const {
    return suspicious_ && std::any_of(suspect_.begin() + first, suspect_.begin() + last + 1, [](auto s) { return s; });
}

// A read that failed may have a bad block where nobody needs it: what is needed is read alone, what was only guessed
// or fetched ahead is forgotten. Throws ReadError where what is needed was read alone already.
void BundleStore::recover(const ReadFailed& failed) {
    const Run run = runs_[failed.tag];
    suspicious_ = true;
    for (Item item = run.item; item < run.item + run.count; ++item) {
        suspect_[item] = 1;
        const Slot slot = cache_.peek(item);
        if (slot == NeuronCache::kNone || !awaits(slot, run.extent) || stage(slot) == Stage::first) continue;
        if (needed_[static_cast<std::size_t>(slot)] == 0) {
            cache_.forget(slot);
            stage(slot) = Stage::empty;
        } else if (run.count == 1) {
            throw reader_.error_of(failed);
        } else {
            queue_.push_back({item, 1, run.extent});
        }
    }
    release_tag(failed.tag);
}

bool BundleStore::collect(bool wait, std::vector<Slot>& arrived) {
    if (queue_.empty() && reader_.in_flight() == 0) return false;
    finished_.clear();
    failed_.clear();
    reader_.wait(finished_, failed_, wait);
    for (const std::uint32_t tag : finished_) deliver(tag, arrived);
    for (const ReadFailed& failed : failed_) recover(failed);
    pump();
    return true;
}

void BundleStore::abandon() noexcept {
    reader_.drain();
    queue_.clear();
    queued_ = 0;
    wanted_.clear();
    wanted_rest_.clear();
    for (std::size_t i = 0; i < stage_.size(); ++i) {
        if (stage_[i] == Stage::rest) stage_[i] = Stage::first;
        if (stage_[i] != Stage::reading) continue;
        cache_.forget(static_cast<Slot>(i));
        stage_[i] = Stage::empty;
    }
    cache_.release();
    free_tags();
}

void BundleStore::settle() noexcept {
    std::vector<Slot> arrived;
    try {
        while (collect(true, arrived)) {
        }
    } catch (const ReadError&) {
        abandon();  // whoever needs these clusters will meet the error again
    }
}

void BundleStore::prefetch(std::size_t network) {
    batch_.clear();
    for (std::size_t g = 0; g < cache_.resident_groups(network) && !large_.empty(); ++g) {
        const std::size_t begin = g * options_.group;
        if (suspected(item(network, begin), item(network, std::min(begin + options_.group, shape_.clusters(network)) - 1))) {
            continue;  // its members are read one by one, when they are needed
        }
        const std::vector<NeuronCache::Admission> admitted = cache_.admit_group(network, g);
        if (admitted.empty()) continue;
        for (const auto& [item, slot] : admitted) await(slot);
        const std::uint32_t tag = large_.back();
        large_.pop_back();
        const Item first = admitted.front().item;
        runs_[tag] = {first, admitted.back().item - first + 1, Extent::whole};
        batch_.push_back(read_of(runs_[tag], tag));
    }
    reads_ += batch_.size();
    reader_.submit(batch_.data(), batch_.size());
}

}  // namespace fairlead

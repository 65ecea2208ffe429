#include "fairlead/neuron_cache.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace fairlead {
NeuronCache::NeuronCache(CacheShape shape, std::size_t slots, std::size_t hot_slots) : shape_(std::move(shape)) {
    if (shape_.layers == 0 || shape_.clusters == 0 || shape_.group == 0) {
        throw std::invalid_argument("cache: layers, clusters and group must be at least 1");
    }
    if (shape_.fixed_groups.empty()) shape_.fixed_groups.assign(shape_.layers, 0);
    if (shape_.hot_groups.empty()) shape_.hot_groups.assign(shape_.layers, 0);
    if (shape_.fixed_groups.size() != shape_.layers || shape_.hot_groups.size() != shape_.layers) {
        throw std::invalid_argument("cache: fixed_groups and hot_groups must have one entry a layer");
    }
    for (std::size_t l = 0; l < shape_.layers; ++l) {
        fixed_items_ += std::min(fixed_groups(l) * shape_.group, shape_.clusters);
    }
    check(slots);
    slot_of_.assign(shape_.layers * shape_.clusters, kNone);
    groups_.resize(shape_.layers * groups());
    start_counts();
    resize(slots, hot_slots);
}

void NeuronCache::check(std::size_t slots) const {
    if (slots >= minimum_slots() && slots < static_cast<std::size_t>(std::numeric_limits<Slot>::max())) return;
    throw std::invalid_argument("cache: " + std::to_string(slots) + " slots: accepted: at least " +
                                std::to_string(minimum_slots()) + ", the fixed region and one more");
}

std::size_t NeuronCache::group_of(Item item) const {
    return item / shape_.clusters * groups() + item % shape_.clusters / shape_.group;
}

std::pair<NeuronCache::Item, NeuronCache::Item> NeuronCache::members(std::size_t layer, std::size_t group) const {
    const std::size_t first = layer * shape_.clusters + group * shape_.group;
    const std::size_t end = std::min(first + shape_.group, (layer + 1) * shape_.clusters);
    return {static_cast<Item>(first), static_cast<Item>(end)};
}

std::size_t NeuronCache::fixed_groups(std::size_t layer) const {
    return std::min<std::size_t>(shape_.fixed_groups[layer], groups());
}

std::size_t NeuronCache::hot_limit_of(std::size_t layer) const {
    const std::size_t most = groups() - fixed_groups(layer);
    return fixed_groups(layer) + std::min<std::size_t>(shape_.hot_groups[layer], most);
}

bool NeuronCache::busy(Slot slot) const {
    const Entry& entry = slots_[index(slot)];
    return entry.loading || entry.held == epoch_;
}

// Two lists for each doubling of the count.
std::uint8_t NeuronCache::list_of(std::uint8_t count) {
    if (count < 4) return count;
    const unsigned width = static_cast<unsigned>(std::bit_width(count));
    return static_cast<std::uint8_t>(2 * width - 2 + ((count >> (width - 2)) & 1U));
}

void NeuronCache::start_counts() {
    counts_.assign(slot_of_.size(), 0);
    for (std::size_t l = 0; l < shape_.layers; ++l) {
        const std::size_t often = std::min(hot_limit_of(l) * shape_.group, shape_.clusters);
        std::fill_n(counts_.begin() + static_cast<std::ptrdiff_t>(l * shape_.clusters), often, kHotCount);
    }
}

void NeuronCache::link_front(Slot slot) {
    Entry& entry = slots_[index(slot)];
    entry.list = list_of(counts_[entry.item]);
    List& list = lists_[entry.list];
    entry.previous = kNone;
    entry.next = list.newest;
    if (list.newest != kNone) slots_[index(list.newest)].previous = slot;
    list.newest = slot;
    if (list.oldest == kNone) list.oldest = slot;
}

void NeuronCache::unlink(Slot slot) {
    const Entry& entry = slots_[index(slot)];
    List& list = lists_[entry.list];
    (entry.previous == kNone ? list.newest : slots_[index(entry.previous)].next) = entry.next;
    (entry.next == kNone ? list.oldest : slots_[index(entry.next)].previous) = entry.previous;
}

void NeuronCache::relist(Item item) {
    const Slot slot = slot_of_[item];
    if (slot == kNone || region(slot) != Region::cold || slots_[index(slot)].list == list_of(counts_[item])) return;
    unlink(slot);
    link_front(slot);
}

void NeuronCache::age() {
    for (; looked_up_ >= kAgingPeriod; looked_up_ -= kAgingPeriod) {
        counts_[hand_] /= 2;
        if (!holds_all()) relist(hand_);
        hand_ = hand_ + 1 == slot_of_.size() ? 0 : hand_ + 1;
    }
}

void NeuronCache::release() {
    ++epoch_;
    // Not before: what is held has to stay the newest of its list.
    age();
}

void NeuronCache::enter(Slot slot, Region region) {
    Entry& entry = slots_[index(slot)];
    entry.region = region;
    ++used_[static_cast<std::size_t>(region)];
    if (region == Region::cold) link_front(slot);
    if (region != Region::hot) return;
    const std::size_t group = entry.group;
    groups_[group].used = ++time_;
    if (groups_[group].members++ == 0) hot_list_.push_back(static_cast<std::uint32_t>(group));
}

void NeuronCache::leave(Slot slot) {
    const Entry& entry = slots_[index(slot)];
    --used_[static_cast<std::size_t>(entry.region)];
    if (entry.region == Region::cold) unlink(slot);
    if (entry.region != Region::hot) return;
    const std::size_t group = entry.group;
    if (--groups_[group].members == 0) std::erase(hot_list_, static_cast<std::uint32_t>(group));
}

void NeuronCache::touch(Slot slot) {
    Entry& entry = slots_[index(slot)];
    entry.held = epoch_;
    if (entry.region == Region::cold) {
        // With room for everything nothing will have to give way, whatever its turn.
        if (holds_all() || slot == lists_[list_of(counts_[entry.item])].newest) return;
        unlink(slot);
        link_front(slot);
    } else if (entry.region == Region::hot) {
        groups_[entry.group].used = ++time_;
    }
}

NeuronCache::Slot NeuronCache::lookup(Item item) {
    const Slot slot = slot_of_[item];
    ++looked_up_;
    if (counts_[item] < std::numeric_limits<std::uint8_t>::max()) ++counts_[item];
    if (slot == kNone) {
        ++counters_.misses;
        return kNone;
    }
    ++counters_.hits[static_cast<std::size_t>(region(slot))];
    touch(slot);
    return slot;
}

NeuronCache::Slot NeuronCache::take() {
    if (free_.empty()) return kNone;
    const Slot slot = free_.back();
    free_.pop_back();
    return slot;
}

void NeuronCache::occupy(Slot slot, Item item, Region region) {
    Entry& entry = slots_[index(slot)];
    entry.item = item;
    entry.group = static_cast<std::uint32_t>(group_of(item));
    entry.held = epoch_;
    entry.loading = true;
    entry.free = false;
    slot_of_[item] = slot;
    ++loading_;
    enter(slot, region);
}

void NeuronCache::arrived(Slot slot) {
    Entry& entry = slots_[index(slot)];
    loading_ -= entry.loading ? 1 : 0;
    entry.loading = false;
}

void NeuronCache::forget(Slot slot) {
    leave(slot);
    arrived(slot);
    Entry& entry = slots_[index(slot)];
    slot_of_[entry.item] = kNone;
    entry.free = true;
    entry.held = 0;
    free_.push_back(slot);
}

void NeuronCache::evict(Slot slot) {
    ++counters_.evictions;
    forget(slot);
}

NeuronCache::Slot NeuronCache::cold_victim() const {
    for (const List& list : lists_) {
        // Held ones are the newest of a list, so few are passed over: those that load and are not held.
        for (Slot slot = list.oldest; slot != kNone; slot = slots_[index(slot)].previous) {
            if (slots_[index(slot)].held == epoch_) break;
            if (!busy(slot)) return slot;
        }
    }
    return kNone;
}

bool NeuronCache::evict_cold() {
    const Slot victim = cold_victim();
    if (victim != kNone) evict(victim);
    return victim != kNone;
}

NeuronCache::Slot NeuronCache::admit(Item item) {
    // While cold clusters are only held, the caller had better let go of them than lose a hot group.
    if (free_.empty() && !evict_cold() && (used(Region::cold) > 0 || !evict_hot_group(kNoGroup))) return kNone;
    const Slot slot = take();
    occupy(slot, item, Region::cold);
    return slot;
}

}  // namespace fairlead

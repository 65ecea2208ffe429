// The hot groups of a neuron cache, and its size.
#include <algorithm>
#include <stdexcept>

#include "fairlead/neuron_cache.hpp"

namespace fairlead {
// The most leading groups a layer that fit the hot region in all layers: it is filled evenly, best ones first.
std::size_t NeuronCache::rank_within(std::size_t hot_slots) const {
    std::size_t needed = 0;
    for (std::size_t rank = 0; rank < groups(); ++rank) {
        for (std::size_t l = 0; l < shape_.layers; ++l) {
            if (rank < fixed_groups(l) || rank >= hot_limit_of(l)) continue;
            const auto [first, end] = members(l, rank);
            needed += end - first;
        }
        if (needed > hot_slots) return rank;
    }
    return groups();
}

std::size_t NeuronCache::resident_groups(std::size_t layer) const {
    return std::max(fixed_groups(layer), std::min(hot_limit_of(layer), rank_));
}

bool NeuronCache::group_busy(std::size_t group) const {
    const auto [first, end] = members(group / groups(), group % groups());
    for (Item item = first; item < end; ++item) {
        if (slot_of_[item] != kNone && region(slot_of_[item]) == Region::hot && busy(slot_of_[item])) return true;
    }
    return false;
}

void NeuronCache::evict_group(std::size_t group) {
    const auto [first, end] = members(group / groups(), group % groups());
    for (Item item = first; item < end; ++item) {
        if (slot_of_[item] != kNone && region(slot_of_[item]) == Region::hot) evict(slot_of_[item]);
    }
}

// The hot group that was not used for the longest time; by_rank: the one with the highest rank, which the profile
// calls the least active, and of these the least recently used.
std::size_t NeuronCache::least_recent_group(std::size_t except, bool by_rank) const {
    std::size_t found = kNoGroup;
    for (const std::size_t group : hot_list_) {
        if (group == except || group_busy(group)) continue;
        const std::size_t rank = by_rank ? group % groups() : 0;
        const std::size_t other = by_rank && found != kNoGroup ? found % groups() : 0;
        const bool later = rank == other ? found != kNoGroup && groups_[group].used > groups_[found].used : rank < other;
        if (found == kNoGroup || !later) found = group;
    }
    return found;
}

bool NeuronCache::evict_hot_group(std::size_t except) {
    const std::size_t group = least_recent_group(except, false);
    if (group == kNoGroup) return false;
    evict_group(group);
    return true;
}

NeuronCache::Slot NeuronCache::room_for_group(std::size_t group, Region region) {
    if (region == Region::hot && used(Region::hot) >= hot_slots_ && !evict_hot_group(group)) return kNone;
    if (free_.empty() && !evict_cold() && !evict_hot_group(group)) return kNone;
    return take();
}

std::vector<NeuronCache::Admission> NeuronCache::admit_group(std::size_t layer, std::size_t group) {
    std::vector<Admission> admitted;
    if (group >= resident_groups(layer)) return admitted;
    const Region region = group < fixed_groups(layer) ? Region::fixed : Region::hot;
    const auto [first, end] = members(layer, group);
    for (Item item = first; item < end; ++item) {
        const Slot present = slot_of_[item];
        if (present == kNone || this->region(present) != Region::cold) continue;
        if (region == Region::hot && used(Region::hot) >= hot_slots_) break;
        leave(present);
        enter(present, region);
    }
    for (Item item = first; item < end; ++item) {
        if (slot_of_[item] != kNone) continue;
        const Slot slot = room_for_group(group_of(item), region);
        if (slot == kNone) break;
        occupy(slot, item, region);
        admitted.push_back({item, slot});
    }
    return admitted;
}

void NeuronCache::shrink(std::size_t slots) {
    // Groups that are no longer hot go first: the hot region must not keep the cold one from its share.
    while (used(Region::hot) > hot_slots_) evict_group(least_recent_group(kNoGroup, true));
    while (used() > slots && evict_cold()) {
    }
    while (used() > slots) evict_group(least_recent_group(kNoGroup, true));
}

std::vector<NeuronCache::Move> NeuronCache::compact(std::size_t slots) {
    std::vector<Move> moves;
    std::erase_if(free_, [slots](Slot slot) { return index(slot) >= slots; });
    for (std::size_t from = slots; from < slots_.size(); ++from) {
        if (slots_[from].free) continue;
        const Slot source = static_cast<Slot>(from);
        const Slot to = take();
        Entry& entry = slots_[index(to)];
        entry = slots_[from];
        slot_of_[entry.item] = to;
        if (entry.region == Region::cold) {
            List& list = lists_[entry.list];
            (entry.previous == kNone ? list.newest : slots_[index(entry.previous)].next) = to;
            (entry.next == kNone ? list.oldest : slots_[index(entry.next)].previous) = to;
        }
        moves.push_back({source, to});
    }
    return moves;
}

std::vector<NeuronCache::Move> NeuronCache::resize(std::size_t slots, std::size_t hot_slots) {
    check(slots);
    if (loading_ > 0) throw std::logic_error("cache: cannot be resized while slots are loading");
    release();
    // While there was room for everything the lists did not follow the counts.
    for (Item item = 0; holds_all() && item < slot_of_.size(); ++item) relist(item);
    hot_slots_ = std::min(hot_slots, slots - minimum_slots());
    rank_ = rank_within(hot_slots_);
    std::vector<Move> moves;
    if (slots < slots_.size()) {
        shrink(slots);
        moves = compact(slots);
    } else if (used(Region::hot) > hot_slots_) {
        shrink(slots);
    }
    const std::size_t before = std::min(slots, slots_.size());
    slots_.resize(slots);
    if (3 * slots < 2 * slots_.capacity()) slots_.shrink_to_fit();
    for (std::size_t slot = slots; slot > before; --slot) free_.push_back(static_cast<Slot>(slot - 1));
    return moves;
}

}  // namespace fairlead

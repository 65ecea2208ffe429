#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace fairlead {

enum class Region : std::uint8_t { fixed = 0, hot = 1, cold = 2 };

// What can be cached: `clusters` a layer, numbered in their order on disk, so that item = layer * clusters + cluster.
// A group is a hot cluster of PowerInfer-2: `group` consecutive clusters that come and go together. The leading
// groups of a layer are its most often active ones: first the fixed ones, then the hot ones.
struct CacheShape {
    std::size_t layers = 0;
    std::size_t clusters = 0;
    std::size_t group = 1;
    std::vector<std::uint32_t> fixed_groups;  // [layers], or empty for none
    std::vector<std::uint32_t> hot_groups;    // [layers], or empty for none
};

struct CacheCounters {
    std::array<std::uint64_t, 3> hits{};  // by region
    std::uint64_t misses = 0;
    std::uint64_t evictions = 0;
};

// Which clusters of neurons lie in which slots of memory (PowerInfer-2, section 4.2): a fixed region that never
// leaves, hot groups that are replaced by group, the least recently used first, and cold clusters that are replaced one
// by one, the least often used first. Pure bookkeeping: it reads no file and moves no byte. Not safe for use by
// several threads at once.
//
// Every item, cached or not, has a count of its lookups, at first that of its place in the profile. It is halved for
// every kAgingPeriod lookups of an average item, so that counts follow the text. Cold clusters stand in lists by the
// size of their counts, in each by recent use: a lookup and an eviction take constant time, and so does aging a lookup.
//
// A slot that lookup, admit or admit_group returned is held: it keeps its item until release(). A slot that was
// admitted is loading until arrived() or forget().
class NeuronCache {
public:
    using Item = std::uint32_t;
    using Slot = std::int32_t;
    static constexpr Slot kNone = -1;
    struct Admission {
        Item item;
        Slot slot;
    };
    struct Move {
        Slot from;
        Slot to;
    };

    // Throws std::invalid_argument where the shape is empty, or the slots do not hold the fixed region and one more.
    NeuronCache(CacheShape shape, std::size_t slots, std::size_t hot_slots);

    // The slot of an item, or kNone; counts a hit of its region or a miss.
    Slot lookup(Item item);
    // A slot for an item that is not cached, in the cold region; kNone when all of that region is held or loading.
    Slot admit(Item item);
    // Slots for those members of a fixed or hot group that are not cached; members in the cold region change over.
    // Stops early where there is no room; empty for a group that is neither fixed nor hot at this size.
    std::vector<Admission> admit_group(std::size_t layer, std::size_t group);
    // The bytes of a slot that was admitted are there.
    void arrived(Slot slot);
    // Frees the slot of an item whose bytes did not come.
    void forget(Slot slot);
    // Lets go of what is held, and ages counts by what was looked up since.
    void release();

    // Changes the number of slots and the hot region's share and releases everything; throws std::logic_error while
    // a slot is loading. Returns the slots to be copied to lower ones, in any order. Growing evicts nothing; shrinking evicts the hot
    // groups that are no longer hot, then cold clusters from the least often used on, then hot groups.
    std::vector<Move> resize(std::size_t slots, std::size_t hot_slots);

    // How many leading groups of a layer are fixed or hot at this size.
    std::size_t resident_groups(std::size_t layer) const;
    std::size_t slots() const { return slots_.size(); }
    std::size_t used() const { return slots_.size() - free_.size(); }
    std::size_t used(Region region) const { return used_[static_cast<std::size_t>(region)]; }
    std::size_t minimum_slots() const { return fixed_items_ + 1; }
    Slot peek(Item item) const { return slot_of_[item]; }
    // Fetch what a lookup will need: first where the item's slot is noted, then, some calls later, the slot's entry.
    void expect(Item item) const { __builtin_prefetch(&slot_of_[item]); }
    void expect_entry(Item item) const {
        const Slot slot = slot_of_[item];
        if (slot != kNone) __builtin_prefetch(&slots_[index(slot)], 1);
    }
    Item item(Slot slot) const { return slots_[index(slot)].item; }
    // Lookups of an item, aged.
    unsigned count(Item item) const { return counts_[item]; }
    Region region(Slot slot) const { return slots_[index(slot)].region; }
    const CacheShape& shape() const { return shape_; }
    const CacheCounters& counters() const { return counters_; }

private:
    struct Entry {
        Item item = 0;
        std::uint32_t group = 0;
        Slot previous = kNone;
        Slot next = kNone;
        std::uint32_t held = 0;  // the last epoch in which it was used
        Region region = Region::cold;
        std::uint8_t list = 0;  // of the cold region
        bool loading = false;
        bool free = true;
    };
    struct Group {
        std::uint32_t members = 0;  // in the hot region
        std::uint64_t used = 0;     // the time of the last use
    };

    struct List {
        Slot newest = kNone;
        Slot oldest = kNone;
    };
    // Longer ones count rare use better and follow a change of subject later.
    static constexpr std::size_t kAgingPeriod = 8;
    static constexpr std::uint8_t kHotCount = 16;
    static constexpr std::size_t kLists = 16;
    static constexpr std::size_t kNoGroup = std::numeric_limits<std::size_t>::max();

    static std::size_t index(Slot slot) { return static_cast<std::size_t>(slot); }
    std::size_t groups() const { return (shape_.clusters + shape_.group - 1) / shape_.group; }
    std::size_t group_of(Item item) const;
    std::pair<Item, Item> members(std::size_t layer, std::size_t group) const;
    std::size_t fixed_groups(std::size_t layer) const;
    std::size_t hot_limit_of(std::size_t layer) const;
    std::size_t rank_within(std::size_t hot_slots) const;
    void check(std::size_t slots) const;

    bool busy(Slot slot) const;
    bool group_busy(std::size_t group) const;
    static std::uint8_t list_of(std::uint8_t count);
    bool holds_all() const { return slots_.size() == slot_of_.size(); }
    void start_counts();
    void age();
    void relist(Item item);
    void touch(Slot slot);
    void occupy(Slot slot, Item item, Region region);
    void enter(Slot slot, Region region);
    void leave(Slot slot);
    void link_front(Slot slot);
    void unlink(Slot slot);
    void evict(Slot slot);
    Slot cold_victim() const;
    bool evict_cold();
    bool evict_hot_group(std::size_t except);
    void evict_group(std::size_t group);
    std::size_t least_recent_group(std::size_t except, bool by_rank) const;
    Slot take();
    Slot room_for_group(std::size_t group, Region region);
    void shrink(std::size_t slots);
    std::vector<Move> compact(std::size_t slots);

    CacheShape shape_;
    std::size_t fixed_items_ = 0;
    std::size_t hot_slots_ = 0;
    std::size_t loading_ = 0;
    std::size_t rank_ = 0;  // groups of a rank at or above this one are not hot at this size
    std::vector<Slot> slot_of_;
    std::vector<Entry> slots_;
    std::vector<Slot> free_;
    std::vector<Group> groups_;
    std::vector<std::uint32_t> hot_list_;  // groups with members in the hot region
    std::array<std::size_t, 3> used_{};
    std::array<List, kLists> lists_{};  // cold clusters by their counts, the rarest first
    std::vector<std::uint8_t> counts_;  // of lookups, by item
    std::size_t looked_up_ = 0;         // since counts were aged
    Item hand_ = 0;                     // whose count ages next
    std::uint32_t epoch_ = 1;
    std::uint64_t time_ = 0;
    CacheCounters counters_;
};

}  // namespace fairlead

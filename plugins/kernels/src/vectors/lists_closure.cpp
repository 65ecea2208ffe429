#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {
namespace {

// Nearest lists that are looked at: more are further than `near` allows, or in the direction of one before.
constexpr std::size_t kLookedAt = 32;

float distance2(const float* a, const float* b, std::size_t dim) {
    float sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
}

}  // namespace

// Adds the further lists of a vector at `lead` to `lists`; `any`: whether or not they have room.
void Lists::further(const float* lead, std::uint32_t own, bool any, std::vector<std::uint32_t>& lists) const {
    const std::size_t dim = coder_.lead(), count = lists_.size();
    std::vector<float> far(count);
    kernels_in_use().multiply_floats(centroids_.data(), dim, 0, count, lead, 1, far.data(), count);
    for (std::size_t i = 0; i < count; ++i) far[i] = centroid_norm2_[i] - 2 * far[i];
    const float norm2 = std::inner_product(lead, lead + dim, lead, 0.0F);
    const float most = closure_.near * std::max(0.0F, norm2 + far[own]) - norm2;
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i < count; ++i) {
        const Copies& copies = lists_[i].copies;
        const bool room = any || copies.live < std::min(closure_.room, kMostEntries - static_cast<std::uint32_t>(kLanes));
        if (i != own && far[i] <= most && room) order.push_back(i);
    }
    const auto nearer = [&](std::uint32_t a, std::uint32_t b) { return far[a] != far[b] ? far[a] < far[b] : a < b; };
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(kLookedAt, order.size()));
    std::partial_sort(order.begin(), end, order.end(), nearer);
    const std::size_t first = lists.size();
    for (auto at = order.begin(); at != end && lists.size() - first < closure_.copies; ++at) {
        const float distance = norm2 + far[*at];
        const auto hides = [&](std::uint32_t other) {
            return closure_.apart * distance2(centroid(*at), centroid(other), dim) < distance;
        };
        if (!hides(own) && std::none_of(lists.begin() + static_cast<std::ptrdiff_t>(first), lists.end(), hides)) {
            lists.push_back(*at);
        }
    }
}

void Lists::closure(const std::byte* vectors, std::size_t count, std::uint32_t* lists) const {
    const Reading reading(*this);
    const std::size_t width = most_lists();
    std::fill_n(lists, count * width, kNoSlot);
    Turned turned;
    std::vector<std::uint32_t> found;
    constexpr std::size_t kBatch = 256;
    for (std::size_t i = 0; i < count; i += kBatch) {
        const std::size_t some = std::min(kBatch, count - i);
        coder_.turn(vectors + i * row_bytes(), some, true, turned);
        for (std::size_t j = 0; j < some; ++j) {
            const float* lead = turned.lead.data() + j * coder_.lead();
            found.assign(1, nearest(lead));
            if (closure_.copies > 0) further(lead, found[0], true, found);
            std::copy(found.begin(), found.end(), lists + (i + j) * width);
        }
    }
}

std::uint32_t Lists::free_copy(Copies& copies) const {
    if (copies.live < copies.entries()) {
        for (std::uint32_t at = copies.entries(); at-- > 0;) {
            if (copies.slots[at] == kNoSlot) return at;
        }
    }
    const std::uint32_t first = copies.entries();
    const std::size_t lines = block_bytes(coder_.row()) / kLine;
    if (first + kLanes > copies.slots.capacity()) {
        const std::size_t blocks = (first + kLanes + first / 8 + kLanes - 1) / kLanes;
        copies.codes.reserve(blocks * lines);
        copies.slots.reserve(blocks * kLanes);
        copies.next.reserve(blocks * kLanes);
    }
    copies.codes.resize(copies.codes.size() + lines);
    copies.slots.resize(first + kLanes, kNoSlot);
    copies.next.resize(first + kLanes, kNoSlot);
    for (std::uint32_t at = first; at < first + kLanes; ++at) clear_entry(copies.codes, at);
    return first;
}

void Lists::trim(Copies& copies) {
    copies.codes.shrink_to_fit();
    copies.slots.shrink_to_fit();
    copies.next.shrink_to_fit();
}

void Lists::link(std::uint32_t slot, std::uint32_t copy) {
    if (slot >= copy_of_.size()) {
        if (slot >= copy_of_.capacity()) copy_of_.reserve(slot + 1 + slot / 8);
        copy_of_.resize(slot + 1, kNoSlot);
    }
    std::uint32_t* at = &copy_of_[slot];
    while (*at < copy) at = &next_copy(*at);
    next_copy(copy) = *at;
    *at = copy;
    ++copied_;
}

void Lists::enter_copies(std::uint32_t slot, std::uint32_t own, const Turned& turned, std::size_t i) {
    std::vector<std::uint32_t> lists;
    further(turned.lead.data() + i * coder_.lead(), own, false, lists);
    for (const std::uint32_t list : lists) {
        Copies& copies = lists_[list].copies;
        const std::uint32_t at = free_copy(copies);
        encode_into(copies.codes.data()->bytes + at / kLanes * block_bytes(coder_.row()), at % kLanes, turned, i, list);
        copies.slots[at] = slot;
        ++copies.live;
        link(slot, list << kEntryBits | at);
    }
}

void Lists::drop_copies(std::uint32_t slot) {
    if (slot >= copy_of_.size()) return;
    for (std::uint32_t copy = copy_of_[slot]; copy != kNoSlot;) {
        const std::uint32_t next = next_copy(copy), at = copy & (kMostEntries - 1);
        Copies& copies = lists_[copy >> kEntryBits].copies;
        clear_entry(copies.codes, at);
        copies.slots[at] = copies.next[at] = kNoSlot;
        --copies.live;
        --copied_;
        copy = next;
    }
    copy_of_[slot] = kNoSlot;
}

// Closes the holes that removed copies have left.
void Lists::pack_copies(std::uint32_t number) {
    const Copies before = std::move(lists_[number].copies);
    Copies& copies = lists_[number].copies = {};
    const std::size_t bytes = block_bytes(coder_.row()), row = coder_.row();
    for (std::uint32_t at = 0; at < before.entries(); ++at) {
        if (before.slots[at] == kNoSlot) continue;
        std::uint32_t* from = &copy_of_[before.slots[at]];
        while (*from != (number << kEntryBits | at)) from = &next_copy(*from);
        const std::uint32_t to = free_copy(copies);
        const std::uint8_t* old = before.codes.data()->bytes + at / kLanes * bytes;
        std::uint8_t* block = copies.codes.data()->bytes + to / kLanes * bytes;
        for (std::size_t b = 0; b <= row; b += 4) {  // the float lies behind the codes as they do
            std::memcpy(block + kLanes * b + 4 * (to % kLanes), old + kLanes * b + 4 * (at % kLanes), 4);
        }
        copies.slots[to] = before.slots[at];
        copies.next[to] = before.next[at];
        ++copies.live;
        *from = number << kEntryBits | to;
    }
    trim(copies);
}

Lists::Guests Lists::guests(Tier& tier, std::uint32_t number) const {
    Guests found;
    for (const std::uint32_t slot : lists_[number].copies.slots) {
        if (slot != kNoSlot) found.slots.push_back(slot);
    }
    found.bytes.resize(found.slots.size() * row_bytes());
    read_rows(tier, found.slots, found.bytes.data());
    return found;
}

void Lists::leave(std::uint32_t number, const Guests& guests) {
    for (const std::uint32_t slot : guests.slots) drop_copies(slot);
    lists_[number].copies = {};
}

void Lists::enter_anew(const Guests& guests) {
    Turned turned;
    coder_.turn(guests.bytes.data(), guests.slots.size(), true, turned);
    for (std::size_t i = 0; i < guests.slots.size(); ++i) {
        const std::uint32_t slot = guests.slots[i];
        enter_copies(slot, entry_of_[slot] >> kEntryBits, turned, i);
    }
}

void Lists::adopt_copies(const Saved& saved) {
    if (saved.copy_blocks.empty() && saved.copy_slots.empty() && saved.copy_codes.empty()) return;
    const std::size_t bytes = block_bytes(coder_.row());
    const auto blocks = std::accumulate(saved.copy_blocks.begin(), saved.copy_blocks.end(), std::size_t{0});
    if (saved.copy_blocks.size() != lists_.size() || saved.copy_slots.size() != blocks * kLanes ||
        saved.copy_codes.size() != blocks * bytes) {
        throw std::invalid_argument("lists: the arrays of copies do not fit one another");
    }
    std::size_t block = 0;
    Entry home;
    for (std::uint32_t number = 0; number < lists_.size(); ++number) {
        Copies& copies = lists_[number].copies;
        const std::size_t count = saved.copy_blocks[number], entries = count * kLanes;
        if (entries > kMostEntries) throw std::invalid_argument("lists: a list has too many copies");
        copies.codes.resize(count * bytes / kLine);
        if (count > 0) std::memcpy(copies.codes.data(), saved.copy_codes.data() + block * bytes, count * bytes);
        copies.slots.assign(saved.copy_slots.begin() + static_cast<std::ptrdiff_t>(block * kLanes),
                            saved.copy_slots.begin() + static_cast<std::ptrdiff_t>(block * kLanes + entries));
        copies.next.assign(entries, kNoSlot);
        for (std::uint32_t at = 0; at < entries; ++at) {
            const std::uint32_t slot = copies.slots[at];
            if (slot == kNoSlot) {
                clear_entry(copies.codes, at);
                continue;
            }
            if (!find(slot, home)) throw std::invalid_argument("lists: a copy of a slot that is not there");
            bool twice = home.list == number;
            for (std::uint32_t copy = slot < copy_of_.size() ? copy_of_[slot] : kNoSlot; copy != kNoSlot; copy = next_copy(copy)) {
                twice = twice || copy >> kEntryBits == number;
            }
            if (twice) throw std::invalid_argument("lists: a slot is in a list twice");
            ++copies.live;
            link(slot, number << kEntryBits | at);
        }
        block += count;
    }
}

}  // namespace fairlead::vectors

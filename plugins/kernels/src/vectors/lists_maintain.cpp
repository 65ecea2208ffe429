#include <algorithm>
#include <cmath>
#include <numeric>

#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {
namespace {

enum Work { kNothing, kSplit, kDissolve, kRepack, kPackCopies };

float distance2(const float* a, const float* b, std::size_t dim) {
    float sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
}

void mean_of(const Turned& turned, std::size_t dim, const std::vector<std::uint32_t>& which, float* mean) {
    std::fill(mean, mean + dim, 0.0F);
    for (const std::uint32_t i : which) {
        for (std::size_t d = 0; d < dim; ++d) mean[d] += turned.lead[i * dim + d];
    }
    for (std::size_t d = 0; d < dim; ++d) mean[d] /= static_cast<float>(std::max<std::size_t>(1, which.size()));
}

// Two halves of equal size (two-means, cut at the median), so that vectors that are all alike are parted too.
std::vector<std::uint32_t> halves(const Turned& turned, std::size_t count, std::size_t dim, std::vector<float>& centroids) {
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0U);
    centroids.assign(turned.lead.begin(), turned.lead.begin() + static_cast<std::ptrdiff_t>(dim));
    const auto farthest = [&](const float* from) {
        return *std::max_element(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
            return distance2(turned.lead.data() + a * dim, from, dim) < distance2(turned.lead.data() + b * dim, from, dim);
        });
    };
    const std::uint32_t one = farthest(turned.lead.data());
    const std::uint32_t other = farthest(turned.lead.data() + one * dim);
    centroids.resize(2 * dim);
    std::copy_n(turned.lead.data() + one * dim, dim, centroids.data());
    std::copy_n(turned.lead.data() + other * dim, dim, centroids.data() + dim);
    std::vector<float> side(count);
    for (int round = 0; round < 6; ++round) {
        for (std::size_t i = 0; i < count; ++i) {
            const float* x = turned.lead.data() + i * dim;
            side[i] = distance2(x, centroids.data(), dim) - distance2(x, centroids.data() + dim, dim);
            if (std::isnan(side[i])) side[i] = 0;
        }
        std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return side[a] < side[b]; });
        const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count / 2);
        mean_of(turned, dim, {order.begin(), middle}, centroids.data());
        mean_of(turned, dim, {middle, order.end()}, centroids.data() + dim);
    }
    return order;
}

}  // namespace

int Lists::work_of(std::uint32_t number, std::uint32_t target) const {
    const List& list = lists_[number];
    if (list.dissolved) return kNothing;
    if (list.live > 2 * target && list.live >= 2 * kLanes && lists_.size() < kMostLists) return kSplit;
    if (list.live < target / 8 && live() > 2 * list.live) return kDissolve;
    if (list.free >= 2 * kLanes && list.free > list.live / 2) return kRepack;
    const std::uint32_t holes = list.copies.entries() - list.copies.live;
    if (holes >= 2 * kLanes && holes > list.copies.live / 2) return kPackCopies;
    return kNothing;
}

std::size_t Lists::wanting(std::uint32_t target) const {
    const Reading reading(*this);
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < lists_.size(); ++i) count += work_of(i, target) != kNothing;
    return count;
}

bool Lists::maintain(Tier& tier, std::uint32_t target) {
    const Writing writing(*this);
    for (std::uint32_t i = 0; i < lists_.size(); ++i) {
        switch (work_of(i, target)) {
            case kSplit: return split(tier, i), true;
            case kDissolve: return dissolve(tier, i), true;
            case kRepack: return repack(tier, i), true;
            case kPackCopies: return pack_copies(i), true;
            default: break;
        }
    }
    return false;
}

std::vector<std::byte> Lists::empty(Tier& tier, std::uint32_t number, std::vector<std::uint32_t>& slots) {
    List& list = lists_[number];
    std::vector<std::byte> bytes(list.live * row_bytes());
    std::vector<TierRead> reads;
    for (std::uint32_t at = 0; at < list.entries(); ++at) {
        if (list.slots[at] >= kNoRow) continue;
        reads.push_back({std::uint64_t{row_of(list, at)} * row_bytes(), static_cast<std::uint32_t>(row_bytes()),
                         bytes.data() + slots.size() * row_bytes()});
        slots.push_back(list.slots[at]);
    }
    constexpr std::size_t kMost = 128;
    for (std::size_t i = 0; i < reads.size(); i += kMost) {
        tier.wait(tier.submit(std::span(reads).subspan(i, std::min(kMost, reads.size() - i))));
    }
    // All is read: from here on nothing fails but for want of rows, of which as many are given back as will be taken.
    for (const std::uint32_t slot : slots) {
        drop_copies(slot);
        entry_of_[slot] = kNoSlot;
    }
    for (std::uint32_t block = 0; block < list.first_row.size(); ++block) {
        const auto from = list.slots.begin() + block * kLanes;
        rows_.give(list.first_row[block], static_cast<std::uint32_t>(std::find(from, from + kLanes, kNoRow) - from));
    }
    live_ -= list.live;
    Copies kept = std::move(list.copies);
    list = List{};
    list.copies = std::move(kept);
    return bytes;
}

void Lists::split(Tier& tier, std::uint32_t number) {
    const Guests others = guests(tier, number);
    std::vector<std::uint32_t> slots;
    const std::vector<std::byte> bytes = empty(tier, number, slots);
    Turned turned;
    coder_.turn(bytes.data(), slots.size(), true, turned);
    std::vector<float> centroids;
    const std::vector<std::uint32_t> order = halves(turned, slots.size(), coder_.lead(), centroids);
    auto second = static_cast<std::uint32_t>(lists_.size());
    for (std::uint32_t i = 0; i < lists_.size(); ++i) {
        if (lists_[i].dissolved) second = std::min(second, i);
    }
    if (second == lists_.size()) {
        lists_.emplace_back();
        centroid_norm2_.push_back(0);
        centroids_.resize(centroids_.size() + coder_.lead());
    }
    set_centroid(number, centroids.data());
    set_centroid(second, centroids.data() + coder_.lead());
    std::vector<std::uint32_t> names, to;
    std::vector<std::byte> sorted;
    for (std::size_t i = 0; i < order.size(); ++i) {
        names.push_back(slots[order[i]]);
        to.push_back(i < order.size() / 2 ? number : second);
        const std::byte* from = bytes.data() + order[i] * row_bytes();
        sorted.insert(sorted.end(), from, from + row_bytes());
    }
    leave(number, others);
    add_locked(tier, names.data(), sorted.data(), names.size(), to.data(), true);
    enter_anew(others);
}

void Lists::dissolve(Tier& tier, std::uint32_t number) {
    const Guests others = guests(tier, number);
    std::vector<std::uint32_t> slots;
    const std::vector<std::byte> bytes = empty(tier, number, slots);
    leave(number, others);
    lists_[number].dissolved = true;
    centroid_norm2_[number] = std::numeric_limits<float>::infinity();
    add_locked(tier, slots.data(), bytes.data(), slots.size(), nullptr, true);
    enter_anew(others);
}

void Lists::repack(Tier& tier, std::uint32_t number) {
    std::vector<std::uint32_t> slots;
    const std::vector<std::byte> bytes = empty(tier, number, slots);
    const std::vector<std::uint32_t> to(slots.size(), number);
    add_locked(tier, slots.data(), bytes.data(), slots.size(), to.data(), true);
}

}  // namespace fairlead::vectors

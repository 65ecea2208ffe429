#include "fairlead/vectors/lists.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();
constexpr std::size_t kBatch = 256;

std::uint16_t to_bfloat16(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

void save_copies(const Copies& copies, std::size_t bytes, Lists::Saved& saved) {
    const std::size_t blocks = copies.entries() / kLanes;
    saved.copy_blocks.push_back(static_cast<std::uint32_t>(blocks));
    const auto* codes = reinterpret_cast<const std::uint8_t*>(copies.codes.data());
    if (blocks > 0) saved.copy_codes.insert(saved.copy_codes.end(), codes, codes + blocks * bytes);
    saved.copy_slots.insert(saved.copy_slots.end(), copies.slots.begin(), copies.slots.end());
}

}  // namespace

Lists::Reading::Reading(const Lists& lists) {
    // Whoever changes the index holds the turn while it waits, so that searches cannot keep it waiting for ever.
    { const std::lock_guard<std::mutex> turn(lists.turn_); }
    lock_ = std::shared_lock<std::shared_mutex>(lists.lock_);
}

Lists::Writing::Writing(const Lists& lists) : waiting_(lists.changes_), turn_(lists.turn_), lock_(lists.lock_) {}

Lists::Lists(ListTraining training, std::vector<float> centroids, const Closure& closure)
    : coder_(std::move(training)), centroids_(std::move(centroids)), closure_(closure) {
    const std::size_t lead = coder_.lead(), count = centroids_.size() / lead;
    if (count == 0 || count * lead != centroids_.size() || count > kMostLists) {
        throw std::invalid_argument("centroids: must be [lists, lead] with 1.." + std::to_string(kMostLists) + " lists");
    }
    if (!std::all_of(centroids_.begin(), centroids_.end(), [](float x) { return std::isfinite(x); })) {
        throw std::invalid_argument("centroids: must be finite");
    }
    lists_.resize(count);
    centroid_norm2_.resize(count);
    const std::vector<float> values = centroids_;
    for (std::uint32_t i = 0; i < count; ++i) set_centroid(i, values.data() + i * lead);
}

void Lists::set_centroid(std::uint32_t list, const float* values) {
    const std::size_t lead = coder_.lead();
    float sum = 0;
    for (std::size_t d = 0; d < lead; ++d) {
        centroids_[list * lead + d] = values[d];
        sum += values[d] * values[d];
    }
    centroid_norm2_[list] = sum;
    lists_[list].dissolved = false;
}

std::uint64_t Lists::dram_bytes() const {
    const Reading reading(*this);
    std::uint64_t sum = sizeof(float) * (centroids_.capacity() + centroid_norm2_.capacity()) +
                        sizeof(List) * lists_.capacity() + sizeof(std::uint32_t) * (entry_of_.capacity() + copy_of_.capacity());
    for (const List& list : lists_) {
        sum += sizeof(CodeLine) * list.codes.capacity() + list.tails.capacity() + 2 * list.scales.capacity() +
               sizeof(std::uint32_t) * (list.slots.capacity() + list.first_row.capacity()) +
               sizeof(CodeLine) * list.copies.codes.capacity() +
               sizeof(std::uint32_t) * (list.copies.slots.capacity() + list.copies.next.capacity());
    }
    return sum;
}

std::vector<std::uint32_t> Lists::sizes() const {
    const Reading reading(*this);
    std::vector<std::uint32_t> sizes;
    for (const List& list : lists_) sizes.push_back(list.live);
    return sizes;
}

std::uint32_t Lists::limit(const Tier& tier) const {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(tier.size() / row_bytes(), kNoRow));
}

bool Lists::find(std::uint32_t slot, Entry& entry) const {
    if (slot >= entry_of_.size() || entry_of_[slot] == kNoSlot) return false;
    entry = {entry_of_[slot] >> kEntryBits, entry_of_[slot] & (kMostEntries - 1)};
    return true;
}

bool Lists::has(std::uint32_t slot) const {
    const Reading reading(*this);
    Entry entry;
    return find(slot, entry);
}

std::uint32_t Lists::nearest(const float* lead) const {
    std::vector<float> products(lists_.size());
    kernels_in_use().multiply_floats(centroids_.data(), coder_.lead(), 0, lists_.size(), lead, 1, products.data(),
                                     lists_.size());
    float best = kNever;
    std::uint32_t found = 0;
    for (std::uint32_t i = 0; i < lists_.size(); ++i) {
        const float distance = centroid_norm2_[i] - 2 * products[i];
        if (!(distance < best) || lists_[i].live >= kMostEntries - 2 * kLanes) continue;
        best = distance;
        found = i;
    }
    return found;
}

void Lists::assign(const std::byte* vectors, std::size_t count, std::uint32_t* lists, float* order) const {
    const Reading reading(*this);
    const std::size_t lead = coder_.lead();
    Turned turned;
    for (std::size_t i = 0; i < count; i += kBatch) {
        const std::size_t some = std::min(kBatch, count - i);
        coder_.turn(vectors + i * row_bytes(), some, true, turned);
        for (std::size_t j = 0; j < some; ++j) {
            const float* x = turned.lead.data() + j * lead;
            lists[i + j] = nearest(x);
            order[i + j] = x[0] - centroid(lists[i + j])[0];
        }
    }
}

void Lists::append_block(List& list, std::uint32_t rows, std::uint32_t limit) {
    const RowSpace::Run run = rows_.take(rows, rows, limit);
    if (run.count == 0) throw TierFull("the region has no room for another vector");
    const std::uint32_t first = list.entries();
    const std::size_t lines = block_bytes(coder_.row()) / kLine;
    if (list.slots.size() + kLanes > list.slots.capacity()) reserve(list, first + kLanes + first / 8);
    list.codes.resize(list.codes.size() + lines);
    list.slots.resize(first + kLanes, kNoRow);
    list.tails.resize((first + kLanes) * coder_.tail_bytes() + kLine);
    list.scales.resize(first + kLanes);
    list.first_row.push_back(run.first);
    for (std::uint32_t at = first; at < first + kLanes; ++at) clear_entry(list.codes, at);
    std::fill_n(list.slots.begin() + first, run.count, kNoSlot);
    list.free += run.count;
}

void Lists::reserve(List& list, std::size_t entries) {
    const std::size_t blocks = (entries + kLanes - 1) / kLanes;
    list.codes.reserve(blocks * block_bytes(coder_.row()) / kLine);
    list.slots.reserve(blocks * kLanes);
    list.tails.reserve(blocks * kLanes * coder_.tail_bytes() + kLine);
    list.scales.reserve(blocks * kLanes);
    list.first_row.reserve(blocks);
}

void Lists::clear_entry(std::vector<CodeLine>& codes, std::uint32_t at) const {
    const std::size_t bytes = block_bytes(coder_.row());
    std::uint8_t* block = codes.data()->bytes + at / kLanes * bytes;
    std::memcpy(block + kLanes * coder_.row() + sizeof(float) * (at % kLanes), &kNever, sizeof(float));
}

std::uint32_t Lists::free_entry(List& list) {
    // The last block is where entries are free most often.
    for (std::uint32_t at = list.entries(); at-- > 0;) {
        if (list.slots[at] == kNoSlot) return at;
    }
    return kNoSlot;
}

void Lists::encode_into(std::uint8_t* block, std::size_t lane, const Turned& turned, std::size_t i, std::uint32_t list) {
    const std::uint32_t row = coder_.row();
    std::uint8_t codes[4096];
    const float own = coder_.encode_lead(turned, i, centroid(list), codes);
    for (std::uint32_t b = 0; b < row; b += 4) std::memcpy(block + kLanes * b + 4 * lane, codes + b, 4);
    std::memcpy(block + kLanes * row + sizeof(float) * lane, &own, sizeof own);
}

void Lists::put(std::uint32_t number, std::uint32_t at, std::uint32_t slot, const Turned& turned, std::size_t i) {
    List& list = lists_[number];
    encode_into(list.codes.data()->bytes + at / kLanes * block_bytes(coder_.row()), at % kLanes, turned, i, number);
    list.scales[at] = to_bfloat16(coder_.encode_tail(turned, i, list.tails.data() + at * coder_.tail_bytes()));
    list.slots[at] = slot;
    --list.free;
    ++list.live;
    ++live_;
    if (slot >= entry_of_.size()) {
        if (slot >= entry_of_.capacity()) entry_of_.reserve(slot + 1 + slot / 8);
        entry_of_.resize(slot + 1, kNoSlot);
    }
    entry_of_[slot] = number << kEntryBits | at;
    if (closure_.copies > 0) enter_copies(slot, number, turned, i);
}

void Lists::add_to(Tier& tier, std::uint32_t number, std::span<const std::uint32_t> slots, const std::byte* vectors,
                   const Turned& turned, std::size_t first, bool dense) {
    List& list = lists_[number];
    std::size_t done = 0;
    while (done < slots.size()) {
        std::uint32_t at = list.free > 0 ? free_entry(list) : kNoSlot;
        if (at == kNoSlot) {
            const auto left = static_cast<std::uint32_t>(slots.size() - done);
            at = list.entries();
            append_block(list, dense ? std::min<std::uint32_t>(left, kLanes) : kLanes, limit(tier));
        }
        // Neighbouring free entries of the block are filled by one write.
        while (at % kLanes > 0 && list.slots[at - 1] == kNoSlot) --at;
        std::uint32_t count = 0;
        while (done + count < slots.size() && at % kLanes + count < kLanes && list.slots[at + count] == kNoSlot) ++count;
        tier.write(std::uint64_t{row_of(list, at)} * row_bytes(),
                   {vectors + done * row_bytes(), count * row_bytes()});
        for (std::uint32_t j = 0; j < count; ++j) put(number, at + j, slots[done + j], turned, first + done + j);
        done += count;
    }
}

void Lists::add_locked(Tier& tier, const std::uint32_t* slots, const std::byte* vectors, std::size_t count,
                       const std::uint32_t* lists, bool dense) {
    Turned turned;
    const std::size_t lead = coder_.lead();
    for (std::size_t i = 0; i < count;) {
        std::size_t some = std::min(kBatch, count - i);
        coder_.turn(vectors + i * row_bytes(), some, true, turned);
        for (std::size_t j = 0; j < some;) {
            const std::uint32_t list = lists ? lists[i + j] : nearest(turned.lead.data() + j * lead);
            std::size_t end = j + 1;
            while (lists && end < some && lists[i + end] == list) ++end;
            add_to(tier, list, {slots + i + j, end - j}, vectors + (i + j) * row_bytes(), turned, j, dense);
            j = end;
        }
        i += some;
    }
}

void Lists::add(Tier& tier, const std::uint32_t* slots, const std::byte* vectors, std::size_t count,
                const std::uint32_t* lists) {
    const Writing writing(*this);
    Entry entry;
    for (std::size_t i = 0; i < count; ++i) {
        if (slots[i] >= kNoRow) throw std::invalid_argument("slots: must be below " + std::to_string(kNoRow));
        if (find(slots[i], entry)) throw std::invalid_argument("slot " + std::to_string(slots[i]) + " is there already");
        if (lists && lists[i] >= lists_.size()) throw std::invalid_argument("lists: there is no such list");
    }
    add_locked(tier, slots, vectors, count, lists, lists != nullptr);
    if (!lists) return;
    for (std::size_t i = 0; i + 1 < count; ++i) {
        if (lists[i] != lists[i + 1]) trim(lists_[lists[i]]);
    }
    if (count > 0) trim(lists_[lists[count - 1]]);
    // Copies have gone anywhere.
    for (List& list : lists_) trim(list.copies);
}

void Lists::trim(List& list) {
    list.codes.shrink_to_fit();
    list.slots.shrink_to_fit();
    list.tails.shrink_to_fit();
    list.scales.shrink_to_fit();
    list.first_row.shrink_to_fit();
}

std::size_t Lists::remove(const std::uint32_t* slots, std::size_t count) {
    const Writing writing(*this);
    std::size_t removed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        Entry entry;
        if (!find(slots[i], entry)) continue;
        List& list = lists_[entry.list];
        drop_copies(slots[i]);
        clear_entry(list.codes, entry.at);
        list.slots[entry.at] = kNoSlot;
        ++list.free;
        --list.live;
        --live_;
        entry_of_[slots[i]] = kNoSlot;
        ++removed;
    }
    return removed;
}

void Lists::vectors(Tier& tier, const std::uint32_t* slots, std::size_t count, std::byte* out) const {
    const Reading reading(*this);
    read_rows(tier, {slots, count}, out);
}

void Lists::read_rows(Tier& tier, std::span<const std::uint32_t> slots, std::byte* out) const {
    constexpr std::size_t kMost = 128;
    std::vector<TierRead> reads;
    for (std::size_t i = 0; i < slots.size(); i += kMost) {
        reads.clear();
        for (std::size_t j = i; j < std::min(i + kMost, slots.size()); ++j) {
            Entry entry;
            if (!find(slots[j], entry)) throw std::out_of_range("slot " + std::to_string(slots[j]) + " is not there");
            const std::uint64_t row = row_of(lists_[entry.list], entry.at);
            reads.push_back({row * row_bytes(), static_cast<std::uint32_t>(row_bytes()), out + j * row_bytes()});
        }
        tier.wait(tier.submit(reads));
    }
}

Lists::Saved Lists::saved() const {
    const Reading reading(*this);
    Saved saved{centroids_, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
    for (const List& list : lists_) {
        saved.dissolved.push_back(list.dissolved);
        saved.blocks.push_back(list.entries() / kLanes);
        const std::size_t bytes = list.entries() / kLanes * block_bytes(coder_.row());
        const auto* codes = reinterpret_cast<const std::uint8_t*>(list.codes.data());
        if (bytes > 0) saved.codes.insert(saved.codes.end(), codes, codes + bytes);
        saved.slots.insert(saved.slots.end(), list.slots.begin(), list.slots.end());
        saved.tails.insert(saved.tails.end(), list.tails.begin(),
                           list.tails.begin() + static_cast<std::ptrdiff_t>(list.entries() * coder_.tail_bytes()));
        saved.scales.insert(saved.scales.end(), list.scales.begin(), list.scales.end());
        saved.first_row.insert(saved.first_row.end(), list.first_row.begin(), list.first_row.end());
        save_copies(list.copies, block_bytes(coder_.row()), saved);
    }
    return saved;
}

void Lists::adopt(const Saved& saved) {
    const Writing writing(*this);
    const std::size_t bytes = block_bytes(coder_.row()), tail = coder_.tail_bytes();
    const auto blocks = std::accumulate(saved.blocks.begin(), saved.blocks.end(), std::size_t{0});
    const bool fits = saved.blocks.size() == lists_.size() && saved.dissolved.size() == lists_.size() &&
                      saved.first_row.size() == blocks && saved.slots.size() == blocks * kLanes &&
                      saved.codes.size() == blocks * bytes && saved.scales.size() == blocks * kLanes &&
                      saved.tails.size() == blocks * kLanes * tail;
    if (!fits) throw std::invalid_argument("lists: the arrays do not fit one another");
    if (live_ > 0) throw std::invalid_argument("lists: the index has vectors already");
    std::vector<RowSpace::Run> runs;
    std::size_t block = 0;
    for (std::uint32_t number = 0; number < lists_.size(); ++number) {
        List& list = lists_[number];
        const std::size_t count = saved.blocks[number], entries = count * kLanes;
        if (entries > kMostEntries) throw std::invalid_argument("lists: a list is too long");
        list.codes.resize(count * bytes / kLine);
        if (count > 0) std::memcpy(list.codes.data(), saved.codes.data() + block * bytes, count * bytes);
        list.slots.assign(saved.slots.begin() + block * kLanes, saved.slots.begin() + block * kLanes + entries);
        list.scales.assign(saved.scales.begin() + block * kLanes, saved.scales.begin() + block * kLanes + entries);
        list.tails.reserve(entries * tail + kLine);  // growing it afterwards would double it
        list.tails.assign(saved.tails.begin() + block * kLanes * tail, saved.tails.begin() + (block * kLanes + entries) * tail);
        list.tails.resize(entries * tail + kLine);
        list.first_row.assign(saved.first_row.begin() + block, saved.first_row.begin() + block + count);
        for (std::uint32_t at = 0; at < entries; ++at) {
            const std::uint32_t slot = list.slots[at];
            if (slot == kNoSlot) ++list.free;
            if (slot >= kNoRow) {
                clear_entry(list.codes, at);
                continue;
            }
            if (slot >= entry_of_.size()) entry_of_.resize(slot + 1, kNoSlot);
            if (entry_of_[slot] != kNoSlot) throw std::invalid_argument("lists: a slot is there twice");
            entry_of_[slot] = number << kEntryBits | at;
            ++list.live;
            ++live_;
        }
        for (std::size_t b = 0; b < count; ++b) {
            const auto from = list.slots.begin() + static_cast<std::ptrdiff_t>(b * kLanes);
            const auto rows = std::find(from, from + kLanes, kNoRow) - from;
            runs.push_back({list.first_row[b], static_cast<std::uint32_t>(rows)});
        }
        if (saved.dissolved[number]) {
            list.dissolved = true;
            centroid_norm2_[number] = kNever;
        }
        block += count;
    }
    rows_.adopt(std::move(runs));
    adopt_copies(saved);
}

}  // namespace fairlead::vectors

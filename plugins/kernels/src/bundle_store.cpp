#include "fairlead/bundle_store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace fairlead {
namespace {

// What is read through rather than read around: another read costs a disk about what three more blocks cost.
constexpr std::size_t kGapBytes = 3 * kBlock;
// The largest cluster, and the most that neighbours take which are read at once.
constexpr std::size_t kMostClusterBytes = std::size_t{1} << 22, kMostRunBytes = std::size_t{256} * 1024;
// Reads of hot groups and of a prompt's pass that may be in flight.
constexpr std::uint32_t kLarge = 4;

std::uint8_t* map(std::size_t bytes, int flags) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::uint8_t*>(memory);
}

void refuse(bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument("bundle: " + what);
}

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

std::size_t BundleShape::first_bytes() const {
    return cluster_neurons == 1 ? std::min(cluster_bytes, round_up(row_bytes(), kBlock)) : cluster_bytes;
}

std::size_t BundleShape::rest_begin() const { return cluster_neurons == 1 ? row_bytes() / kBlock * kBlock : 0; }

std::size_t BundleShape::slots() const {
    std::size_t total = 0;
    for (std::size_t n = 0; n < networks.size(); ++n) total += clusters(n);
    return total;
}

std::size_t BundleShape::pass_row_bytes() const {
    std::size_t most = 0;
    for (const BundleNetwork& network : networks) most = std::max(most, network.neurons);
    return most * row_bytes();
}

std::size_t BundleShape::clusters(std::size_t network) const {
    return (networks[network].neurons + cluster_neurons - 1) / cluster_neurons;
}

StoreOptions BundleStore::fitted(const BundleShape& shape, StoreOptions options) {
    refuse(!shape.networks.empty() && shape.hidden > 0 && shape.hidden % kGroup == 0, "needs networks of whole groups");
    refuse(shape.bits == 4 || shape.bits == 8, "bits: must be 4 or 8");
    refuse(shape.hidden <= std::size_t{1} << 20, "hidden: too large");
    refuse(shape.cluster_neurons > 0 && shape.cluster_bytes <= kMostClusterBytes && shape.cluster_bytes % kBlock == 0 &&
               shape.cluster_bytes % shape.cluster_neurons == 0 && shape.stride() >= shape.matrices * shape.row_bytes(),
           "cluster_bytes: must be whole blocks that hold the bundles");
    std::size_t most = 1;
    for (const BundleNetwork& network : shape.networks) {
        refuse(network.neurons > 0 && network.neurons < std::size_t{1} << 31, "networks: neurons out of range");
        refuse(network.offset % kBlock == 0, "networks: must lie on blocks");
        most = std::max(most, (network.neurons + shape.cluster_neurons - 1) / shape.cluster_neurons);
    }
    refuse(shape.networks.size() <= 0xFFFFFFFFU / most, "networks: too many clusters");
    refuse(options.group > 0 && options.run > 0 && options.depth > 0, "group, run and depth must be at least 1");
    options.run = std::min(options.run, std::max<std::size_t>(1, kMostRunBytes / shape.cluster_bytes));
    // What is read in parts is read one by one.
    if (shape.two_phases() || (shape.resident_gates && shape.rest_begin() > 0)) options.run = 1;
    return options;
}

CacheShape BundleStore::cache_shape(const BundleShape& shape, const StoreOptions& options) {
    CacheShape cache;
    cache.layers = shape.networks.size();
    cache.group = options.group;
    for (std::size_t n = 0; n < shape.networks.size(); ++n) {
        cache.clusters = std::max(cache.clusters, shape.clusters(n));
        cache.hot_groups.push_back(
            static_cast<std::uint32_t>(shape.networks[n].hot / (shape.cluster_neurons * options.group)));
    }
    return cache;
}

BundleStore::BundleStore(std::string path, BundleShape shape, StoreOptions options)
    : shape_(std::move(shape)),
      options_(fitted(shape_, options)),
      cache_(cache_shape(shape_, options_), std::min(options_.slots, shape_.slots()), options_.hot_slots),
      reader_(std::move(path), {options_.depth + kLarge, options_.threads, options_.direct, options_.uring}) {
    check_file();
    total_slots_ = shape_.slots();
    small_bytes_ = options_.run * shape_.cluster_bytes;
    large_bytes_ = options_.group * shape_.cluster_bytes;
    pass_slots_ = (shape_.pass_row_bytes() + shape_.slot_bytes() - 1) / shape_.slot_bytes();
    granted_ = std::min(options_.slots, most_slots());
    pool_ = map(most_slots() * shape_.slot_bytes(), MAP_NORESERVE);
    // Filled at once, so that whoever shares a budget out sees them in what the process holds.
    buffers_ = map(options_.depth * small_bytes_ + kLarge * large_bytes_, MAP_POPULATE);
    reader_.prepare(buffers_, options_.depth * small_bytes_ + kLarge * large_bytes_);
    stage_.assign(cache_.slots(), Stage::empty);
    guessed_.assign(cache_.slots(), 0);
    runs_.resize(options_.depth + kLarge);
    free_tags();
}

BundleStore::~BundleStore() {
    reader_.drain();
    munmap(pool_, most_slots() * shape_.slot_bytes());
    munmap(buffers_, options_.depth * small_bytes_ + kLarge * large_bytes_);
}

void BundleStore::check_file() const {
    for (std::size_t n = 0; n < shape_.networks.size(); ++n) {
        const std::uint64_t bytes = shape_.clusters(n) * shape_.cluster_bytes;
        if (reader_.size() < bytes || shape_.networks[n].offset > reader_.size() - bytes) {
            throw ReadError(reader_.path(), shape_.networks[n].offset, bytes, 0);
        }
    }
}

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

BundleStore::Item BundleStore::item(std::size_t network, std::size_t cluster) const {
    return static_cast<Item>(network * cache_.shape().clusters + cluster);
}

PackedView BundleStore::rows(Part part) const {
    const std::size_t row = part == Part::down ? shape_.matrices - 1 : static_cast<std::size_t>(part);
    const std::size_t index = row - (shape_.resident_gates ? 1 : 0);
    return {pool_ + index * shape_.row_bytes(), cache_.slots() * shape_.cluster_neurons, shape_.hidden,
            shape_.slot_stride(), shape_.bits};
}

BundleStore::Slot BundleStore::claim(Item item) {
    Slot slot = cache_.lookup(item);
    if (slot != NeuronCache::kNone) return slot;
    slot = cache_.admit(item);
    if (slot == NeuronCache::kNone) return slot;
    await(slot);
    wanted_.push_back(item);
    return slot;
}

bool BundleStore::guess(Item item) {
    if (cache_.peek(item) != NeuronCache::kNone) return false;
    const Slot slot = cache_.admit(item);
    if (slot == NeuronCache::kNone) return false;
    await(slot, true);
    wanted_.push_back(item);
    ++guesses_;
    return true;
}

bool BundleStore::take_guess(Slot slot) {
    const bool guessed = std::exchange(guessed_[static_cast<std::size_t>(slot)], 0) != 0;
    confirmed_ += guessed ? 1 : 0;
    return guessed;
}

void BundleStore::await(Slot slot, bool guessed) {
    stage(slot) = Stage::reading;
    guessed_[static_cast<std::size_t>(slot)] = guessed ? 1 : 0;
}

void BundleStore::demand_rest(Slot slot) {
    if (stage(slot) != Stage::first) return;
    stage(slot) = Stage::rest;
    wanted_rest_.push_back(cache_.item(slot));
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

// Takes what a read brought for a slot; false where the slot does not wait for it.
bool BundleStore::take(const Run& run, Slot slot, const std::uint8_t* cluster) {
    const Stage before = stage(slot);
    if (run.extent == Extent::first) {
        if (before != Stage::reading) return false;
        copy_rows(slot, cluster, 0, 1);
        stage(slot) = Stage::first;
    } else if (run.extent == Extent::rest && !shape_.resident_gates) {
        if (before != Stage::rest) return false;
        copy_rows(slot, cluster, 1, shape_.matrices - 1);
        stage(slot) = Stage::whole;
    } else {
        if (before == Stage::empty || before == Stage::whole) return false;
        const std::size_t first = shape_.resident_gates ? 1 : 0;
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
    (tag < options_.depth ? small_ : large_).push_back(tag);
}

bool BundleStore::collect(bool wait, std::vector<Slot>& arrived) {
    if (queue_.empty() && reader_.in_flight() == 0) return false;
    finished_.clear();
    reader_.wait(finished_, wait);
    for (const std::uint32_t tag : finished_) deliver(tag, arrived);
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

void BundleStore::account(Work& work) {
    const double busy = reader_.busy_seconds();
    const double waited = reader_.waited_seconds();
    work.reads += static_cast<std::int64_t>(reads_ - told_reads_);
    work.read_bytes += static_cast<std::int64_t>(reader_.bytes_read() - told_bytes_);
    work.read_ns += static_cast<std::int64_t>((busy - told_busy_) * 1e9);
    work.stalled_ns += static_cast<std::int64_t>((waited - told_waited_) * 1e9);
    told_reads_ = reads_;
    told_bytes_ = reader_.bytes_read();
    told_busy_ = busy;
    told_waited_ = waited;
}

void BundleStore::resize(std::size_t slots, std::size_t hot_slots) {
    settle();
    const std::size_t before = std::exchange(granted_, std::min(slots, most_slots()));
    options_.hot_slots = hot_slots;
    lent_ = false;
    fit(granted_);
    if (granted_ >= before) return;
    // Shrunk: the memory goes back to the system at once.
    const std::size_t kept = round_up(granted_ * shape_.slot_bytes(), kBlock);
    const std::size_t end = most_slots() * shape_.slot_bytes();
    if (kept < end) madvise(pool_ + kept, end - kept, MADV_DONTNEED);
}

// Lets the cache have so many slots.
void BundleStore::fit(std::size_t slots) {
    slots = std::min(slots, total_slots_);
    for (const auto& [from, to] : cache_.resize(slots, options_.hot_slots)) {
        std::memcpy(pool_ + static_cast<std::size_t>(to) * shape_.slot_bytes(),
                    pool_ + static_cast<std::size_t>(from) * shape_.slot_bytes(), shape_.slot_bytes());
        stage(to) = stage(from);
        guessed_[static_cast<std::size_t>(to)] = guessed_[static_cast<std::size_t>(from)];
    }
    stage_.resize(slots, Stage::empty);
    guessed_.resize(slots, 0);
}

}  // namespace fairlead

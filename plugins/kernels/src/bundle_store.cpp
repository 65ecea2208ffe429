#include "fairlead/bundle_store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace fairlead {
namespace {

// The largest cluster, and the most that neighbours take which are read at once.
constexpr std::size_t kMostClusterBytes = std::size_t{1} << 22, kMostRunBytes = std::size_t{256} * 1024;

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
      reader_(std::move(path),
              {options_.depth + kLarge, options_.threads, options_.direct, options_.uring, options_.broken}) {
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
    needed_.assign(cache_.slots(), 0);
    suspect_.assign(cache_.shape().layers * cache_.shape().clusters, 0);
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
    if (slot == NeuronCache::kNone) {
        slot = cache_.admit(item);
        if (slot == NeuronCache::kNone) return slot;
        await(slot);
        wanted_.push_back(item);
    }
    needed_[static_cast<std::size_t>(slot)] = 1;
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
    needed_[static_cast<std::size_t>(slot)] = 0;
}

void BundleStore::demand_rest(Slot slot) {
    if (stage(slot) != Stage::first) return;
    stage(slot) = Stage::rest;
    wanted_rest_.push_back(cache_.item(slot));
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
        needed_[static_cast<std::size_t>(to)] = 0;
    }
    stage_.resize(slots, Stage::empty);
    guessed_.resize(slots, 0);
    needed_.resize(slots, 0);
}

}  // namespace fairlead

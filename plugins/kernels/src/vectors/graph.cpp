#include "fairlead/vectors/graph.hpp"

#include <algorithm>
#include <iterator>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "vectors/graph_builder.hpp"

namespace fairlead::vectors {
namespace {

// A batch sees nothing of itself, so it stays a small part of the graph.
constexpr std::size_t kBatchPart = 50;

// Fisher-Yates with the generator's own bits: std::shuffle differs between libraries.
std::vector<std::uint32_t> shuffled(std::vector<std::uint32_t> order, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    return order;
}

}  // namespace

Graph::Graph(WalkEncoder encoder, const GraphSettings& settings, bool exact)
    : encoder_(std::move(encoder)), settings_(settings), exact_(exact), width_(settings.degree) {
    rows_ = exact ? exact_rows(encoder_.space) : code_rows(encoder_, codes_);
    leading_ = leading_rows(encoder_, codes_);
}

std::size_t Graph::vertex_bytes() const {
    return encoder_.code_bytes() + rows_->row_bytes() + (settings_.degree + 2) * sizeof(std::uint32_t);
}

std::size_t Graph::bytes() const {
    const std::size_t ids = slot_of_.capacity() + vertex_of_.capacity() + removed_.capacity() + free_.capacity();
    return codes_.size() + edges_.size() + entry_codes_.size() + rows_->row_bytes() * room_ +
           (ids + entries_.capacity()) * sizeof(std::uint32_t) + encoder_.rotation.size() * sizeof(float);
}

void Graph::reserve(std::size_t vertices) {
    if (vertices <= room_) return;
    codes_.resize(vertices * encoder_.code_bytes());
    edges_.resize(vertices * width_ * sizeof(std::uint32_t));
    rows_->resize(vertices);
    slot_of_.reserve(vertices);
    room_ = vertices;
}

void Graph::clear_row(std::uint32_t vertex) {
    std::fill_n(edges_.as<std::uint32_t>() + static_cast<std::size_t>(vertex) * width_, width_, vertex);
}

std::uint32_t Graph::place(std::uint32_t slot) {
    std::uint32_t vertex;
    if (!free_.empty()) {
        vertex = free_.back();
        free_.pop_back();
    } else {
        if (slot_of_.size() == room_) reserve(room_ + room_ / 8 + 64);
        vertex = static_cast<std::uint32_t>(slot_of_.size());
        slot_of_.push_back(kNone);
    }
    if (slot >= vertex_of_.size()) vertex_of_.resize(slot + std::size_t{1}, kNone);
    slot_of_[vertex] = slot;
    vertex_of_[slot] = vertex;
    clear_row(vertex);
    ++live_;
    return vertex;
}

void Graph::check_new(std::span<const std::uint32_t> slots) const {
    std::vector<std::uint32_t> sorted(slots.begin(), slots.end());
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        if (vertex_of(sorted[i]) != kNone || (i > 0 && sorted[i] == sorted[i - 1])) {
            throw std::invalid_argument("slots: " + std::to_string(sorted[i]) + " is in the graph already");
        }
    }
}

Graph::Encoded Graph::encoded(const std::byte* vectors, std::size_t count) const {
    Encoded made;
    made.codes.resize(count * encoder_.code_bytes());
    made.rows.resize(exact_ ? 0 : count * encoder_.row_bytes());
    made.more.resize(count);
    encoder_.encode(vectors, count, made.codes.data(), exact_ ? nullptr : made.rows.data(), made.more.data());
    return made;
}

std::vector<std::uint32_t> Graph::place_all(std::span<const std::uint32_t> slots, const std::byte* vectors) {
    check_new(slots);
    const Encoded made = encoded(vectors, slots.size());
    const auto lock = changing_.exclusive();
    if (slots.size() > free_.size()) {
        const std::size_t needed = slot_of_.size() + slots.size() - free_.size();
        if (needed > room_) reserve(std::max(needed, room_ + room_ / 8));
    }
    if (!slots.empty()) {
        const std::size_t most = *std::max_element(slots.begin(), slots.end()) + std::size_t{1};
        // Doubling would cost as much as an edge or two of each vertex.
        if (most > vertex_of_.capacity()) vertex_of_.reserve(std::max(most, vertex_of_.size() + vertex_of_.size() / 8));
    }
    const std::size_t bytes = encoder_.code_bytes(), row = rows_->stride();
    const std::byte* rows = exact_ ? vectors : reinterpret_cast<const std::byte*>(made.rows.data());
    std::vector<std::uint32_t> vertices;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::uint32_t vertex = place(slots[i]);
        vertices.push_back(vertex);
        if (row > 0) std::memcpy(rows_->row(vertex), rows + i * row, row);
        std::memcpy(codes_.data() + vertex * bytes, made.codes.data() + i * bytes, bytes);
        rows_->set_more(vertex, made.more[i]);
    }
    return vertices;
}

std::vector<std::uint32_t> Graph::append(std::span<const std::uint32_t> slots, const std::byte* vectors) {
    const std::lock_guard writing(writing_);
    return place_all(slots, vectors);
}

void Graph::set_entries(std::vector<std::uint32_t> vertices) {
    entries_ = std::move(vertices);
    const std::size_t bytes = encoder_.code_bytes();
    entry_codes_.resize(entries_.size() * bytes);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        std::memcpy(entry_codes_.data() + i * bytes, codes_.data() + entries_[i] * bytes, bytes);
    }
}

bool Graph::build(std::size_t threads, const GraphProgress& progress) {
    const std::lock_guard writing(writing_);
    const auto lock = changing_.exclusive();
    std::vector<std::uint32_t> present;
    for (std::uint32_t v = 0; v < vertices(); ++v) {
        if (slot_of_[v] != kNone) present.push_back(v);
    }
    const std::vector<std::uint32_t> order = shuffled(std::move(present), settings_.seed);
    const std::span<const std::uint32_t> all(order);
    const std::size_t total = order.size(), most = std::max<std::size_t>(1, total / kBatchPart);
    width_ = settings_.degree + settings_.slack;
    edges_ = HugeBuffer(vertices() * width_ * sizeof(std::uint32_t));
    for (std::uint32_t v = 0; v < vertices(); ++v) clear_row(v);
    entries_.clear();
    GraphBuilder builder(*this, threads, nullptr);
    std::size_t done = std::min<std::size_t>(total, settings_.entries);
    builder.link(all.first(done));
    set_entries({order.begin(), order.begin() + static_cast<std::ptrdiff_t>(done)});
    bool going = true;
    while (done < total && going) {
        const std::size_t batch = std::min({done, most, total - done});
        builder.link(all.subspan(done, batch));
        done += batch;
        going = !progress || progress(done, total);
    }
    builder.narrow(settings_.degree);
    edges_.resize(room_ * width_ * sizeof(std::uint32_t));
    set_entries(connected(entries_));
    return going;
}

void Graph::insert(std::span<const std::uint32_t> slots, const std::byte* vectors, std::size_t threads) {
    const std::lock_guard writing(writing_);
    const std::vector<std::uint32_t> fresh = place_all(slots, vectors);
    const std::span<const std::uint32_t> all(fresh);
    GraphBuilder builder(*this, threads, &changing_);
    std::size_t done = 0;
    if (entries_.empty()) {
        done = std::min<std::size_t>(fresh.size(), settings_.entries);
        builder.link(all.first(done));
        const auto lock = changing_.exclusive();
        set_entries({fresh.begin(), fresh.begin() + static_cast<std::ptrdiff_t>(done)});
    }
    while (done < fresh.size()) {
        const std::size_t linked = live_ - (fresh.size() - done);
        const std::size_t batch = std::min(fresh.size() - done, std::max<std::size_t>(1, linked / kBatchPart));
        builder.link(all.subspan(done, batch));
        done += batch;
    }
}

std::size_t Graph::remove(std::span<const std::uint32_t> slots) {
    const auto lock = changing_.exclusive();
    std::size_t count = 0;
    for (const std::uint32_t slot : slots) {
        const std::uint32_t vertex = vertex_of(slot);
        if (vertex == kNone) continue;
        std::atomic_ref(slot_of_[vertex]).store(kNone, std::memory_order_relaxed);
        vertex_of_[slot] = kNone;
        removed_.push_back(vertex);
        --live_;
        ++count;
    }
    return count;
}

std::vector<std::uint32_t> Graph::renewed_entries() const {
    std::vector<std::uint32_t> kept;
    std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(kept),
                 [this](std::uint32_t v) { return slot_of(v) != kNone; });
    // The first were drawn evenly; what follows was added because no edge led there.
    if (kept.size() > settings_.entries) kept.resize(settings_.entries);
    std::vector<std::uint32_t> others;
    for (std::uint32_t v = 0; v < vertices() && kept.size() < settings_.entries; ++v) {
        if (slot_of(v) != kNone) others.push_back(v);
    }
    for (const std::uint32_t v : shuffled(std::move(others), settings_.seed + 1)) {
        if (kept.size() >= settings_.entries) break;
        if (std::find(kept.begin(), kept.end(), v) == kept.end()) kept.push_back(v);
    }
    return kept;
}

bool Graph::consolidate(std::size_t threads, std::size_t most) {
    const std::lock_guard writing(writing_);
    if (leaving_.empty()) {
        const auto lock = changing_.exclusive();
        if (removed_.empty()) return true;
        leaving_.swap(removed_);
        looked_at_ = 0;
    }
    const std::size_t end = looked_at_ + std::min(most, vertices() - looked_at_);
    GraphBuilder(*this, threads, &changing_).bridge(looked_at_, end);
    looked_at_ = end;
    if (end < vertices()) return false;
    std::vector<std::uint32_t> entries = connected(renewed_entries());
    const auto lock = changing_.exclusive();
    for (const std::uint32_t v : leaving_) clear_row(v);
    free_.insert(free_.end(), leaving_.begin(), leaving_.end());
    leaving_.clear();
    set_entries(std::move(entries));
    return removed_.empty();
}

std::vector<std::uint32_t> Graph::connected(std::vector<std::uint32_t> entries) const {
    std::vector<std::uint8_t> seen(vertices(), 0);
    std::vector<std::uint32_t> queue;
    const auto reach = [&](std::uint32_t from) {
        if (seen[from] != 0) return;
        seen[from] = 1;
        queue.push_back(from);
        while (!queue.empty()) {
            const std::uint32_t vertex = queue.back();
            queue.pop_back();
            for (std::uint32_t i = 0; i < width_; ++i) {
                const std::uint32_t next = neighbours(vertex)[i];
                if (seen[next]++ == 0) queue.push_back(next);
                seen[next] = 1;
            }
        }
    };
    const std::vector<std::uint32_t> given = entries;
    for (const std::uint32_t entry : given) reach(entry);
    for (std::uint32_t v = 0; v < vertices(); ++v) {
        if (seen[v] != 0 || slot_of(v) == kNone) continue;
        entries.push_back(v);
        reach(v);
    }
    return entries;
}

}  // namespace fairlead::vectors

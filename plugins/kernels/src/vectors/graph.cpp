#include "fairlead/vectors/graph.hpp"

#include <algorithm>
#include <iterator>
#include <cstring>
#include <mutex>
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

std::vector<std::uint32_t> Graph::place_all(std::span<const std::uint32_t> slots, const std::byte* vectors) {
    std::vector<std::uint32_t> sorted(slots.begin(), slots.end());
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        if (vertex_of(sorted[i]) != kNone || (i > 0 && sorted[i] == sorted[i - 1])) {
            throw std::invalid_argument("slots: " + std::to_string(sorted[i]) + " is in the graph already");
        }
    }
    if (slots.size() > free_.size()) {
        const std::size_t needed = slot_of_.size() + slots.size() - free_.size();
        if (needed > room_) reserve(std::max(needed, room_ + room_ / 8));
    }
    std::vector<std::uint32_t> vertices;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::uint32_t vertex = place(slots[i]);
        const std::byte* vector = vectors + i * encoder_.space.bytes();
        vertices.push_back(vertex);
        if (exact_) std::memcpy(rows_->row(vertex), vector, encoder_.space.bytes());
    }
    // Vertices at the end follow each other, those at freed places do not: runs are encoded together.
    for (std::size_t i = 0; i < vertices.size();) {
        std::size_t end = i + 1;
        while (end < vertices.size() && vertices[end] == vertices[end - 1] + 1) ++end;
        std::vector<float> more(end - i);
        encoder_.encode(vectors + i * encoder_.space.bytes(), end - i, false,
                        codes_.as<std::uint8_t>() + vertices[i] * encoder_.code_bytes(),
                        exact_ ? nullptr : reinterpret_cast<std::uint8_t*>(rows_->row(vertices[i])), more.data());
        for (std::size_t j = i; j < end; ++j) rows_->set_more(vertices[j], more[j - i]);
        i = end;
    }
    return vertices;
}

std::vector<std::uint32_t> Graph::append(std::span<const std::uint32_t> slots, const std::byte* vectors) {
    const std::unique_lock lock(changing_);
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
    const std::unique_lock lock(changing_);
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
    GraphBuilder builder(*this, threads);
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
    connect();
    return going;
}

void Graph::insert(std::span<const std::uint32_t> slots, const std::byte* vectors, std::size_t threads) {
    const std::unique_lock lock(changing_);
    const std::vector<std::uint32_t> fresh = place_all(slots, vectors);
    const std::span<const std::uint32_t> all(fresh);
    GraphBuilder builder(*this, threads);
    std::size_t done = 0;
    if (entries_.empty()) {
        done = std::min<std::size_t>(fresh.size(), settings_.entries);
        builder.link(all.first(done));
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
    const std::unique_lock lock(changing_);
    std::size_t count = 0;
    for (const std::uint32_t slot : slots) {
        const std::uint32_t vertex = vertex_of(slot);
        if (vertex == kNone) continue;
        slot_of_[vertex] = kNone;
        vertex_of_[slot] = kNone;
        removed_.push_back(vertex);
        --live_;
        ++count;
    }
    return count;
}

void Graph::renew_entries() {
    std::vector<std::uint32_t> kept;
    std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(kept),
                 [this](std::uint32_t v) { return slot_of_[v] != kNone; });
    std::vector<std::uint32_t> others;
    for (std::uint32_t v = 0; v < vertices() && kept.size() < settings_.entries; ++v) {
        if (slot_of_[v] != kNone) others.push_back(v);
    }
    for (const std::uint32_t v : shuffled(std::move(others), settings_.seed + 1)) {
        if (kept.size() >= settings_.entries) break;
        if (std::find(kept.begin(), kept.end(), v) == kept.end()) kept.push_back(v);
    }
    set_entries(std::move(kept));
}

void Graph::consolidate(std::size_t threads) {
    const std::unique_lock lock(changing_);
    if (removed_.empty()) return;
    std::vector<std::uint8_t> gone(vertices(), 0);
    for (const std::uint32_t v : removed_) gone[v] = 1;
    GraphBuilder(*this, threads).bridge(gone);
    for (const std::uint32_t v : removed_) clear_row(v);
    free_.insert(free_.end(), removed_.begin(), removed_.end());
    removed_.clear();
    renew_entries();
    connect();
}

void Graph::connect() {
    std::vector<std::uint8_t> seen(vertices(), 0);
    std::vector<std::uint32_t> queue, entries = entries_;
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
    for (const std::uint32_t entry : entries_) reach(entry);
    for (std::uint32_t v = 0; v < vertices(); ++v) {
        if (seen[v] != 0 || slot_of_[v] == kNone) continue;
        entries.push_back(v);
        reach(v);
    }
    set_entries(std::move(entries));
}

}  // namespace fairlead::vectors

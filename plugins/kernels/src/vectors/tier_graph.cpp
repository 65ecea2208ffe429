#include "fairlead/vectors/tier_graph.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "fairlead/vectors/lists.hpp"

namespace fairlead::vectors {
namespace {

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("graph: ") + what);
}

bool below(const std::vector<std::uint32_t>& values, std::size_t limit) {
    return std::all_of(values.begin(), values.end(), [limit](std::uint32_t value) { return value < limit; });
}

}  // namespace

TierGraph::TierGraph(WalkEncoder encoder, const TierGraphSettings& settings, const TierGraphLayout& layout)
    : encoder_(std::move(encoder)), settings_(settings), layout_(layout) {
    leading_ = leading_rows(encoder_, codes_);
}

std::size_t TierGraph::dram_bytes() const {
    const std::size_t ids = slot_of_.capacity() + vertex_of_.capacity() + removed_.capacity() + free_.capacity();
    // Of a table: a node of each, and a place to find it by.
    const std::size_t table = kept_at_.size() * 24 + kept_at_.bucket_count() * sizeof(void*);
    return codes_.size() + entry_codes_.size() + records_.size() + (ids + entries_.capacity()) * sizeof(std::uint32_t) +
           table + is_kept_.capacity() * sizeof(std::uint64_t) + encoder_.rotation.size() * sizeof(float);
}

void TierGraph::reserve(std::size_t vertices) {
    if (vertices <= room_) return;
    codes_.resize(vertices * encoder_.code_bytes());
    slot_of_.reserve(vertices);
    is_kept_.resize((vertices + 63) / 64, 0);
    room_ = vertices;
}

void TierGraph::set_entries(std::vector<std::uint32_t> vertices) {
    entries_ = std::move(vertices);
    const std::size_t bytes = encoder_.code_bytes();
    entry_codes_.resize(entries_.size() * bytes);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        std::memcpy(entry_codes_.data() + i * bytes, codes_.data() + entries_[i] * bytes, bytes);
    }
}

std::byte* TierGraph::kept(std::uint32_t vertex) const {
    if ((is_kept_[vertex / 64] >> (vertex % 64) & 1) == 0) return nullptr;
    return records_.data() + kept_at_.find(vertex)->second * layout_.read_bytes();
}

void TierGraph::walked(const std::byte* queries, std::size_t count, std::int8_t* out) const {
    encoder_.encode_queries(queries, count, out, nullptr);
}

TierGraph::Lengths TierGraph::lengths(const std::byte* query) const {
    const Space& space = encoder_.space;
    std::vector<float> plain(encoder_.columns(), 0.0F);
    to_floats(space, query, plain.data());
    const auto squared = [&] { return std::inner_product(plain.begin(), plain.end(), plain.begin(), 0.0F); };
    if (space.metric == Metric::cosine && space.element != Element::bit) {
        const float norm = std::sqrt(squared());
        for (float& value : plain) value = norm > 0.0F ? value / norm : 0.0F;
    }
    Lengths found{0.0F, squared()};
    for (std::size_t c = 0; c < plain.size(); ++c) {
        found.from_center += (plain[c] - encoder_.center[c]) * (plain[c] - encoder_.center[c]);
    }
    return found;
}

// Read 64 bits at a time.
std::vector<std::uint32_t> TierGraph::passing(const TierGraphSearch& options) const {
    std::vector<std::uint32_t> vertices;
    const std::size_t count = vertex_of_.size();
    const std::size_t bytes = options.all ? (count + 7) / 8 : std::min((count + 7) / 8, options.allowed.size());
    for (std::size_t first = 0; first < bytes; first += 8) {
        std::uint64_t bits = options.all ? ~std::uint64_t{0} : 0;
        for (std::size_t b = 0; !options.all && b < std::min<std::size_t>(8, bytes - first); ++b) {
            bits |= std::uint64_t{options.allowed[first + b]} << (8 * b);
        }
        for (; bits != 0; bits &= bits - 1) {
            const std::size_t slot = 8 * first + static_cast<std::size_t>(__builtin_ctzll(bits));
            if (slot >= count) break;
            if (vertex_of_[slot] != kNone) vertices.push_back(vertex_of_[slot]);
        }
    }
    return vertices;
}

TierGraph::State TierGraph::save() const {
    const std::lock_guard writing(writing_);
    const auto lock = changing_.shared();
    State state{slot_of_, {}, removed_, entries_, {}};
    state.removed.insert(state.removed.end(), leaving_.begin(), leaving_.end());
    const auto* codes = codes_.as<std::uint8_t>();
    state.codes.assign(codes, codes + vertices() * encoder_.code_bytes());
    for (const auto& [vertex, place] : kept_at_) state.cached.push_back(vertex);
    std::sort(state.cached.begin(), state.cached.end());
    return state;
}

void TierGraph::restore(const State& state) {
    const std::lock_guard writing(writing_);
    const auto lock = changing_.exclusive();
    const std::size_t count = state.slots.size();
    require(vertices() == 0, "is not empty");
    require(count <= std::uint64_t{1} << layout_.id_bits, "slots: more than ids of so few bits name");
    require(state.codes.size() == count * encoder_.code_bytes(), "codes: have another size");
    require(below(state.removed, count) && below(state.entries, count) && below(state.cached, count),
            "removed, entries, cached: are no vertices");
    require(count == 0 || !state.entries.empty(), "entries: there are none");
    std::vector<std::uint8_t> removed(count, 0);
    for (const std::uint32_t v : state.removed) {
        require(state.slots[v] == kNone && removed[v]++ == 0, "removed: are not");
    }
    std::uint32_t most = 0;
    for (const std::uint32_t slot : state.slots) most = slot == kNone ? most : std::max(most, slot + 1);
    std::vector<std::uint32_t> vertex_of(most, kNone), free;
    std::size_t live = 0;
    for (std::uint32_t v = 0; v < count; ++v) {
        if (state.slots[v] == kNone) {
            if (removed[v] == 0) free.push_back(v);
            continue;
        }
        require(vertex_of[state.slots[v]] == kNone, "slots: one is there twice");
        vertex_of[state.slots[v]] = v;
        ++live;
    }
    reserve(count);
    slot_of_ = state.slots;
    vertex_of_ = std::move(vertex_of);
    removed_ = state.removed;
    free_ = std::move(free);
    live_ = live;
    std::copy(state.codes.begin(), state.codes.end(), codes_.as<std::uint8_t>());
    set_entries(state.entries);
}

void TierGraph::fill(Tier& tier, std::uint32_t first, std::size_t count, const std::uint32_t* edges,
                     const std::byte* vectors) {
    const std::uint64_t begin = layout_.edges_at(first), end = layout_.bytes(first + count);
    if (end > tier.size()) {
        throw TierFull("no room: " + std::to_string(end) + " bytes in a region of " + std::to_string(tier.size()));
    }
    std::vector<std::byte> packed(end - begin);
    for (std::size_t i = 0; i < count; ++i) {
        const auto vertex = static_cast<std::uint32_t>(first + i);
        pack_ids(edges + i * layout_.degree, layout_.degree, layout_.id_bits,
                 packed.data() + layout_.edges_at(vertex) - begin);
        std::memcpy(packed.data() + layout_.vector_at(vertex) - begin, vectors + i * layout_.vector_bytes,
                    layout_.vector_bytes);
    }
    tier.write(begin, packed);
}

void TierGraph::keep(Tier& tier, std::span<const std::uint32_t> vertices) {
    const std::lock_guard writing(writing_);
    const std::size_t bytes = layout_.read_bytes();
    HugeBuffer records(vertices.size() * bytes);
    std::vector<TierRead> reads;
    for (std::size_t i = 0; i < vertices.size(); ++i) {
        reads.push_back({layout_.edges_at(vertices[i]), static_cast<std::uint32_t>(bytes), records.data() + i * bytes});
    }
    tier.wait(tier.submit(reads));
    const auto lock = changing_.exclusive();
    kept_at_.clear();
    std::fill(is_kept_.begin(), is_kept_.end(), 0);
    for (std::size_t i = 0; i < vertices.size(); ++i) {
        kept_at_[vertices[i]] = static_cast<std::uint32_t>(i);
        is_kept_[vertices[i] / 64] |= std::uint64_t{1} << (vertices[i] % 64);
    }
    records_ = std::move(records);
}

void TierGraph::vectors(Tier& tier, std::span<const std::uint32_t> slots, std::byte* out) const {
    const auto lock = changing_.shared();
    std::vector<TierRead> reads;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::uint32_t vertex = vertex_of(slots[i]);
        if (vertex == kNone) throw std::out_of_range("slot " + std::to_string(slots[i]) + " is not there");
        reads.push_back({layout_.vector_at(vertex), static_cast<std::uint32_t>(layout_.vector_bytes),
                         out + i * layout_.vector_bytes});
    }
    tier.wait(tier.submit(reads));
}

std::vector<std::uint32_t> TierGraph::neighbours(Tier& tier, std::uint32_t vertex) const {
    const auto lock = changing_.shared();
    if (vertex >= vertices()) throw std::out_of_range("vertex " + std::to_string(vertex) + " is not there");
    return read_edges(tier, {&vertex, 1}).front();
}

}  // namespace fairlead::vectors

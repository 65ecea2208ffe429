#include "vectors/tier_graph_passage.hpp"

#include <algorithm>
#include <limits>
#include <string>

namespace fairlead::vectors {
namespace {

constexpr std::size_t kStarts = 3;
// What score_lines takes at a time.
constexpr std::size_t kScored = 64;
constexpr float kNever = std::numeric_limits<float>::infinity();
// A code's coordinates are stored so much larger.
constexpr std::int64_t kMiddle = 128;

}  // namespace

TierGraphPassage::TierGraphPassage(const TierGraph& graph, Tier& tier, std::byte* zone, std::size_t places)
    : graph_(graph), tier_(tier), direct_(zone == nullptr && tier.size() > 0 ? tier.direct(0) : nullptr), zone_(zone),
      places_(places), place_bytes_(place_bytes(graph.layout())), query_(graph.encoder().space) {}

void TierGraphPassage::fetch(const std::byte* from, std::size_t bytes) const {
    for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(from + at);
}

void TierGraphPassage::start(const TierGraphAsk& ask, const std::int8_t* walked,
                             const std::vector<std::uint32_t>* scanned, const KernelTable& kernels) {
    ask_ = ask;
    code_ = walked;
    kernels_ = &kernels;
    const TierGraphSearch& options = *ask.options;
    query_.set(ask.query);
    filter_ = {options.all ? nullptr : options.allowed.data(), options.allowed.size(),
               options.all && graph_.removed() == 0 && scanned == nullptr};
    // An empty bitmap has no address.
    static constexpr std::uint8_t kNobody = 0;
    if (!options.all && filter_.allowed == nullptr) filter_.allowed = &kNobody;
    beam_.reset(scanned != nullptr ? 0 : options.beam);
    passed_.reset(filter_.everything ? 0 : options.rerank);
    expanded_.clear();
    nearest_.clear();
    hops_ = read_ = trips_ = 0;
    bytes_ = 0;
    stage_ = Stage::round;
    if (scanned == nullptr) return enter();
    const std::uint8_t* codes = graph_.codes_.as<std::uint8_t>();
    const std::size_t size = graph_.encoder_.code_bytes();
    for (std::size_t first = 0; first < scanned->size(); first += kScored) {
        const std::size_t ahead = std::min(scanned->size(), first + kScored);
        const std::size_t end = std::min(scanned->size(), ahead + kScored);
        for (std::size_t i = ahead; i < end; ++i) fetch(graph_.codes_.data() + (*scanned)[i] * size, size);
        score(scanned->data() + first, codes, ahead - first);
    }
}

// From the nearest few of the entries, whose codes lie together.
void TierGraphPassage::enter() {
    const std::size_t count = graph_.entries_.size(), stride = graph_.encoder_.code_bytes();
    std::int32_t scores[kScored];
    starts_.reset(kStarts);
    for (std::size_t first = 0; first < count; first += kScored) {
        std::uint64_t near = kernels_->score_lines(graph_.entry_codes_.as<std::uint8_t>() + first * stride,
                                                   graph_.encoder_.lines, nullptr, std::min(kScored, count - first),
                                                   code_, starts_.limit(), scores);
        for (; near != 0; near &= near - 1) {
            const auto i = static_cast<std::size_t>(__builtin_ctzll(near));
            starts_.insert(Beam::key(scores[i], graph_.entries_[first + i]));
        }
    }
    for (std::size_t i = 0; i < starts_.size(); ++i) meet(starts_[i]);
}

void TierGraphPassage::score(const std::uint32_t* vertices, const std::uint8_t* codes, std::size_t count) {
    std::int32_t scores[kScored];
    const std::int32_t limit = filter_.everything ? beam_.limit() : std::max(beam_.limit(), passed_.limit());
    std::uint64_t near =
        kernels_->score_lines(codes, graph_.encoder_.lines, vertices, count, code_, limit, scores);
    for (; near != 0; near &= near - 1) {
        const auto i = static_cast<std::size_t>(__builtin_ctzll(near));
        meet(Beam::key(scores[i], vertices[i]));
    }
}

void TierGraphPassage::meet(std::uint64_t key) {
    beam_.insert(key);
    if (!filter_.everything && filter_.passes(graph_.slot_of(Beam::vertex(key)))) passed_.insert(key);
}

TierGraphPassage::Turn TierGraphPassage::turn() {
    if (stage_ == Stage::arrived) {
        take_records();
        stage_ = Stage::score;
        return Turn::working;
    }
    if (stage_ == Stage::score) {
        score_neighbours();
        stage_ = Stage::round;
    }
    if (stage_ == Stage::round) return begin_round();
    // What was asked for has come.
    const std::size_t first = ranked_, count = std::min(places_, last_.size() - first);
    offsets_.resize(count);
    for (std::size_t i = 0; i < count; ++i) offsets_[i] = static_cast<std::uint32_t>(i * place_bytes_);
    measure(zone_, last_.data() + first, count);
    ranked_ += count;
    return begin_rank();
}

// The nearest of the beam whose edges were not looked at; those that are kept in memory are gone through at once.
TierGraphPassage::Turn TierGraphPassage::begin_round() {
    asked_.clear();
    neighbours_.clear();
    const std::size_t width = ask_.options->width;
    while (asked_.size() < width) {
        const std::uint64_t key = beam_.expand();
        if (key == 0) break;
        const std::uint32_t vertex = Beam::vertex(key);
        ++hops_;
        expanded_.push_back(vertex);
        const std::byte* record = graph_.kept(vertex);
        if (record == nullptr) {
            asked_.push_back(vertex);
            continue;
        }
        offsets_.assign(1, static_cast<std::uint32_t>(graph_.layout_.edge_bytes()));
        if (graph_.layout_.beside()) measure(record, &vertex, 1);
        take_edges(vertex, record);
        // The next one to look at may be among them.
        score_neighbours();
    }
    if (asked_.empty()) return choose_last();
    stage_ = Stage::arrived;
    const std::size_t bytes = graph_.layout_.read_bytes();
    reads_.clear();
    for (std::size_t i = 0; i < asked_.size(); ++i) {
        const std::uint64_t at = graph_.layout_.edges_at(asked_[i]);
        if (direct_ != nullptr) fetch(direct_ + at, bytes);
        else reads_.push_back({at, static_cast<std::uint32_t>(bytes), zone_ + i * place_bytes_});
    }
    return submit(asked_.size(), bytes);
}

TierGraphPassage::Turn TierGraphPassage::submit(std::size_t count, std::size_t bytes) {
    read_ += static_cast<std::int32_t>(count);
    bytes_ += static_cast<std::int64_t>(count * bytes);
    ++trips_;
    if (direct_ != nullptr) return Turn::working;
    ticket_ = tier_.submit(reads_);
    return Turn::waiting;
}

void TierGraphPassage::take_records() {
    const TierGraphLayout& layout = graph_.layout_;
    const auto record = [&](std::size_t i) {
        return direct_ != nullptr ? direct_ + layout.edges_at(asked_[i]) : zone_ + i * place_bytes_;
    };
    for (std::size_t i = 0; i < asked_.size(); ++i) take_edges(asked_[i], record(i));
    if (!layout.beside()) return;
    const auto behind = static_cast<std::uint32_t>(layout.edge_bytes());
    if (direct_ == nullptr) {
        offsets_.clear();
        for (std::size_t i = 0; i < asked_.size(); ++i) {
            offsets_.push_back(static_cast<std::uint32_t>(i * place_bytes_) + behind);
        }
        return measure(zone_, asked_.data(), asked_.size());
    }
    offsets_.assign(1, behind);
    for (std::size_t i = 0; i < asked_.size(); ++i) measure(record(i), asked_.data() + i, 1);
}

// Unpacks a vertex's edges and asks for their codes.
void TierGraphPassage::take_edges(std::uint32_t vertex, const std::byte* packed) {
    const std::size_t before = neighbours_.size(), degree = graph_.layout_.degree, size = graph_.encoder_.code_bytes();
    neighbours_.resize(before + degree);
    std::uint32_t* ids = neighbours_.data() + before;
    unpack_ids(packed, degree, graph_.layout_.id_bits, ids);
    for (std::size_t i = 0; i < degree; ++i) {
        if (ids[i] >= graph_.vertices()) {
            throw TierLost(tier_.url(), "holds other bytes than were written: an edge of vertex " + std::to_string(vertex) +
                                            " leads to " + std::to_string(ids[i]) + " of " +
                                            std::to_string(graph_.vertices()));
        }
        if (ids[i] == vertex) {  // no more edges
            neighbours_.resize(before + i);
            break;
        }
        fetch(graph_.codes_.data() + ids[i] * size, size);
    }
}

void TierGraphPassage::score_neighbours() {
    for (std::size_t first = 0; first < neighbours_.size(); first += kScored) {
        score(neighbours_.data() + first, graph_.codes_.as<std::uint8_t>(), std::min(kScored, neighbours_.size() - first));
    }
    neighbours_.clear();
}

// Candidates that are not compared yet.
TierGraphPassage::Turn TierGraphPassage::choose_last() {
    last_.clear();
    ranked_ = 0;
    const Beam& found = filter_.everything ? beam_ : passed_;
    if (!ask_.options->exact) {
        estimate();
        return Turn::finished;
    }
    if (!filter_.everything) {
        std::erase_if(nearest_, [this](const Nearest& n) { return !filter_.passes(graph_.slot_of(n.vertex)); });
    }
    std::sort(nearest_.begin(), nearest_.end(), [](const Nearest& a, const Nearest& b) { return a.vertex < b.vertex; });
    const std::size_t count = std::min<std::size_t>(found.size(), ask_.options->rerank);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t vertex = Beam::vertex(found[i]);
        const auto at = std::lower_bound(nearest_.begin(), nearest_.end(), vertex,
                                         [](const Nearest& n, std::uint32_t v) { return n.vertex < v; });
        if (at == nearest_.end() || at->vertex != vertex) last_.push_back(vertex);
    }
    stage_ = Stage::rank;
    if (direct_ == nullptr) return begin_rank();
    for (const std::uint32_t vertex : last_) fetch(direct_ + graph_.layout_.vector_at(vertex), graph_.layout_.vector_bytes);
    if (last_.empty()) return begin_rank();
    for (const std::uint32_t& vertex : last_) {
        offsets_.assign(1, 0);
        measure(direct_ + graph_.layout_.vector_at(vertex), &vertex, 1);
    }
    submit(last_.size(), graph_.layout_.vector_bytes);
    last_.clear();
    return begin_rank();
}

TierGraphPassage::Turn TierGraphPassage::begin_rank() {
    const std::size_t count = std::min(places_, last_.size() - ranked_);
    if (count == 0) {
        answer();
        return Turn::finished;
    }
    reads_.clear();
    for (std::size_t i = 0; i < count; ++i) {
        reads_.push_back({graph_.layout_.vector_at(last_[ranked_ + i]),
                          static_cast<std::uint32_t>(graph_.layout_.vector_bytes), zone_ + i * place_bytes_});
    }
    return submit(count, graph_.layout_.vector_bytes);
}

// Vectors at base + offsets_[i].
void TierGraphPassage::measure(const std::byte* base, const std::uint32_t* vertices, std::size_t count) {
    distances_.resize(count);
    distances(query_, base, 1, offsets_.data(), count, distances_.data());
    for (std::size_t i = 0; i < count; ++i) {
        nearest_.push_back({distances_[i] < kNever ? distances_[i] : kNever, vertices[i]});
    }
}

// Distances as the codes have them: what a code leaves out is taken to be at a right angle.
void TierGraphPassage::estimate() {
    const WalkEncoder& encoder = graph_.encoder_;
    const Beam& found = filter_.everything ? beam_ : passed_;
    std::int64_t sum = 0;
    for (std::size_t d = 0; d < encoder.leading(); ++d) sum += code_[d];
    const TierGraph::Lengths query = graph_.lengths(ask_.query);
    const float unit = 2.0F * encoder.step * encoder.step;
    nearest_.clear();
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto product = static_cast<float>(std::int64_t{Beam::score(found[i])} - kMiddle * sum);
        float distance = std::max(0.0F, unit * product + query.from_center);
        if (encoder.augmented()) distance = (distance - encoder.longest - query.squared) / 2.0F;
        else if (encoder.space.metric == Metric::cosine && encoder.space.element != Element::bit) distance /= 2.0F;
        nearest_.push_back({distance, Beam::vertex(found[i])});
    }
    answer();
}

void TierGraphPassage::answer() {
    const std::size_t k = ask_.options->k, found = std::min(k, nearest_.size());
    std::partial_sort(nearest_.begin(), nearest_.begin() + static_cast<std::ptrdiff_t>(found), nearest_.end());
    const TierGraphFound& to = *ask_.found;
    for (std::size_t i = 0; i < k; ++i) {
        to.slots[ask_.at * k + i] = i < found ? std::int64_t{graph_.slot_of(nearest_[i].vertex)} : -1;
        to.distances[ask_.at * k + i] = i < found ? nearest_[i].distance : kNever;
    }
    to.reads[ask_.at] = read_;
    to.trips[ask_.at] = trips_;
    to.hops[ask_.at] = hops_;
    to.bytes[ask_.at] = bytes_;
}

}  // namespace fairlead::vectors

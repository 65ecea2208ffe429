#include "vectors/graph_prune.hpp"

#include <algorithm>

namespace fairlead::vectors {

void GraphPruner::sort_candidates(std::uint32_t vertex, const std::vector<std::uint32_t>& candidates) {
    ids_ = candidates;
    std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
    std::erase(ids_, vertex);
    distances_.resize(ids_.size());
    rows_.between(vertex, ids_.data(), ids_.size(), distances_.data());
    sorted_.clear();
    for (std::size_t i = 0; i < ids_.size(); ++i) sorted_.push_back({distances_[i], ids_[i], 0.0F, false});
    const auto nearer = [](const Candidate& a, const Candidate& b) {
        return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
    };
    const std::size_t kept = std::min(most_, sorted_.size());
    std::partial_sort(sorted_.begin(), sorted_.begin() + static_cast<std::ptrdiff_t>(kept), sorted_.end(), nearer);
    sorted_.resize(kept);
}

void GraphPruner::occlude_by(std::size_t at) {
    rest_.clear();
    places_.clear();
    for (std::size_t i = at + 1; i < sorted_.size(); ++i) {
        if (sorted_[i].chosen || sorted_[i].occlusion > alpha_) continue;
        rest_.push_back(sorted_[i].id);
        places_.push_back(i);
    }
    distances_.resize(rest_.size());
    rows_.between(sorted_[at].id, rest_.data(), rest_.size(), distances_.data());
    for (std::size_t i = 0; i < rest_.size(); ++i) {
        Candidate& other = sorted_[places_[i]];
        const float ratio = distances_[i] > 0.0F ? other.distance / distances_[i] : 1.0e30F;
        other.occlusion = std::max(other.occlusion, ratio);
    }
}

void GraphPruner::choose(std::size_t at) {
    sorted_[at].chosen = true;
    chosen_.push_back(sorted_[at].id);
    if (chosen_.size() < degree_) occlude_by(at);
}

const std::vector<std::uint32_t>& GraphPruner::prune(std::uint32_t vertex,
                                                     const std::vector<std::uint32_t>& candidates) {
    sort_candidates(vertex, candidates);
    chosen_.clear();
    for (const float limit : {1.0F, alpha_}) {
        for (std::size_t i = 0; i < sorted_.size() && chosen_.size() < degree_; ++i) {
            if (!sorted_[i].chosen && sorted_[i].occlusion <= limit) choose(i);
        }
    }
    for (std::size_t i = 0; i < sorted_.size() && chosen_.size() < degree_; ++i) {
        if (!sorted_[i].chosen) chosen_.push_back(sorted_[i].id);
    }
    return chosen_;
}

bool GraphPruner::needless(std::uint32_t vertex, const std::vector<std::uint32_t>& row, std::uint32_t candidate) {
    float distance;
    rows_.between(vertex, &candidate, 1, &distance);
    distances_.resize(2 * row.size());
    float *own = distances_.data(), *between = own + row.size();
    rows_.between(vertex, row.data(), row.size(), own);
    rows_.between(candidate, row.data(), row.size(), between);
    for (std::size_t i = 0; i < row.size(); ++i) {
        if (own[i] < distance && distance > alpha_ * between[i]) return true;
    }
    return false;
}

}  // namespace fairlead::vectors

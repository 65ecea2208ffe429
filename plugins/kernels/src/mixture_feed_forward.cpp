#include "fairlead/mixture_feed_forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "fairlead/operators.hpp"

namespace fairlead {
namespace {

// Up to so many tokens choose a part of the experts only.
constexpr std::size_t kFewTokens = 8;

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

}  // namespace

MixtureFeedForward::MixtureFeedForward(const RouterView& router, std::vector<std::shared_ptr<FeedForward>> experts,
                                       std::shared_ptr<FeedForward> shared)
    : router_(router), networks_(std::move(experts)), experts_(networks_.size()) {
    if (router_.chosen == 0 || router_.chosen > experts_) {
        throw std::invalid_argument("chosen: must be 1 to the number of experts");
    }
    if ((shared != nullptr) != (router_.shared_gate != nullptr)) {
        throw std::invalid_argument("shared_gate: must be given exactly where there is a shared expert");
    }
    if (shared != nullptr) networks_.push_back(std::move(shared));
    first_.push_back(0);
    for (const std::shared_ptr<FeedForward>& network : networks_) first_.push_back(first_.back() + network->neurons());
    uses_.resize(networks_.size());
}

void MixtureFeedForward::count_activations(std::shared_ptr<std::int64_t> counts) {
    for (std::size_t i = 0; i < networks_.size(); ++i) {
        std::int64_t* const own = counts == nullptr ? nullptr : counts.get() + first_[i];
        networks_[i]->count_activations(std::shared_ptr<std::int64_t>(counts, own));
    }
    FeedForward::count_activations(std::move(counts));
}

void MixtureFeedForward::choose(std::size_t token, float* shares) {
    taken_.assign(experts_, 0);
    picked_.clear();
    float sum = 0.0F;
    while (picked_.size() < router_.chosen) {
        std::size_t best = experts_;
        for (std::size_t e = 0; e < experts_; ++e) {
            // What is not a number is chosen last, and then in order: the sum says what became of it.
            if (taken_[e] == 0 && (best == experts_ || shares[e] > shares[best])) best = e;
        }
        taken_[best] = 1;
        picked_.push_back(best);
        sum += shares[best];
    }
    for (const std::size_t expert : picked_) {
        uses_[expert].push_back({token, router_.renormalize ? shares[expert] / sum : shares[expert]});
    }
}

void MixtureFeedForward::route(const KernelTable& k, const float* x, std::size_t tokens) {
    for (std::vector<Use>& uses : uses_) uses.clear();
    shares_.resize(tokens * experts_);
    multiply_floats(k, router_.router, experts_, router_.hidden, x, tokens, shares_.data());
    for (std::size_t t = 0; t < tokens; ++t) {
        float* shares = shares_.data() + t * experts_;
        if (router_.sigmoid) {
            for (std::size_t e = 0; e < experts_; ++e) shares[e] = sigmoid(shares[e]);
        } else {
            k.softmax(shares, experts_);
        }
        choose(t, shares);
    }
    if (router_.shared_gate == nullptr) return;
    multiply_floats(k, router_.shared_gate, 1, router_.hidden, x, tokens, shares_.data());
    for (std::size_t t = 0; t < tokens; ++t) uses_.back().push_back({t, sigmoid(shares_[t])});
}

void MixtureFeedForward::route_early(const KernelTable& k, const float* hidden, std::size_t tokens) {
    route(k, hidden, tokens);
    routed_ = tokens;
    Work unused;
    // A prompt reads most experts, in larger pieces than these.
    if (tokens <= kFewTokens && reads()) read_chosen(k, nullptr, unused);
    guessed_.clear();
}

bool MixtureFeedForward::reads() const {
    return std::any_of(networks_.begin(), networks_.end(), [](const auto& network) { return network->reads(); });
}

void MixtureFeedForward::prefetch() {
    if (router_.shared_gate != nullptr) networks_.back()->prefetch();
}

bool MixtureFeedForward::wants_guess() { return !router_.before_attention && reads() && look_ahead_.due(); }

void MixtureFeedForward::prefetch_for(const KernelTable& k, const float* x, Work& work) {
    route(k, x, 1);
    read_chosen(k, x, work);
    look_ahead_.guessed(0, guessed_.size());
}

void MixtureFeedForward::read_chosen(const KernelTable& k, const float* x, Work& work) {
    guessed_.clear();
    for (std::size_t i = 0; i < networks_.size(); ++i) {
        if (uses_[i].empty()) continue;
        FeedForward& network = *networks_[i];
        if (network.predictor() == nullptr) {
            if (network.prefetch_whole(router_.chosen) && i < experts_) guessed_.push_back(i);
        } else if (x != nullptr && network.wants_guess()) {
            network.prefetch();
            network.prefetch_for(k, x, work);
            if (i < experts_) guessed_.push_back(i);
        }
    }
}

void MixtureFeedForward::confirm() {
    for (const std::size_t expert : guessed_) {
        if (!uses_[expert].empty()) look_ahead_.confirmed();
    }
    guessed_.clear();
}

void MixtureFeedForward::settle(const KernelTable& k, const float* x, std::size_t tokens) {
    if (!router_.before_attention) {
        route(k, x, tokens);
        confirm();
    } else if (std::exchange(routed_, 0) != tokens) {
        throw std::invalid_argument("mixture: its router looks before the attention of the same tokens");
    }
}

const float* MixtureFeedForward::gather(const std::vector<Use>& uses, const float* x, std::size_t tokens) {
    if (uses.size() == tokens) return x;
    const std::size_t hidden = router_.hidden;
    input_.resize(uses.size() * hidden);
    for (std::size_t i = 0; i < uses.size(); ++i) {
        std::memcpy(input_.data() + i * hidden, x + uses[i].token * hidden, hidden * sizeof(float));
    }
    return input_.data();
}

template <class Compute>
void MixtureFeedForward::for_each_used(const float* x, std::size_t tokens, float* y, Work& work,
                                       const Compute& compute) {
    const std::size_t hidden = router_.hidden;
    output_.resize(tokens * hidden);
    std::fill_n(y, tokens * hidden, 0.0F);
    for (std::size_t i = 0; i < networks_.size(); ++i) {
        const std::vector<Use>& uses = uses_[i];
        if (uses.empty()) continue;
        work.experts += i < experts_ ? 1 : 0;
        compute(i, gather(uses, x, tokens), uses.size(), output_.data());
        for (std::size_t u = 0; u < uses.size(); ++u) {
            float* to = y + uses[u].token * hidden;
            const float* from = output_.data() + u * hidden;
            for (std::size_t c = 0; c < hidden; ++c) to[c] += uses[u].share * from[c];
        }
    }
}

void MixtureFeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    settle(k, x, 1);
    for_each_used(x, 1, y, work, [&](std::size_t i, const float* own, std::size_t, float* out) {
        networks_[i]->step(k, own, out, work);
    });
}

void MixtureFeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                       std::size_t count, float* y, Work& work) {
    settle(k, x, 1);
    for_each_used(x, 1, y, work, [&](std::size_t i, const float* own, std::size_t, float* out) {
        const auto begin = static_cast<std::int32_t>(first_[i]), end = static_cast<std::int32_t>(first_[i + 1]);
        listed_.clear();
        for (std::size_t n = 0; n < count; ++n) {
            if (neurons[n] >= begin && neurons[n] < end) listed_.push_back(neurons[n] - begin);
        }
        // A list has a data pointer even where it is empty.
        listed_.push_back(0);
        networks_[i]->step_selected(k, own, listed_.data(), listed_.size() - 1, out, work);
    });
}

void MixtureFeedForward::batch(const KernelTable& k, const float* x, std::size_t tokens, float* y, Work& work) {
    settle(k, x, tokens);
    for_each_used(x, tokens, y, work, [&](std::size_t i, const float* own, std::size_t count, float* out) {
        networks_[i]->batch(k, own, count, out, work);
    });
}

void MixtureFeedForward::step_many(const KernelTable& k, const float* x, std::size_t tokens, std::size_t hidden,
                                   float* y, std::int32_t* active, Work& work) {
    settle(k, x, tokens);
    std::fill_n(active, tokens, 0);
    active_.resize(tokens);
    for_each_used(x, tokens, y, work, [&](std::size_t i, const float* own, std::size_t count, float* out) {
        networks_[i]->step_many(k, own, count, hidden, out, active_.data(), work);
        for (std::size_t u = 0; u < count; ++u) active[uses_[i][u].token] += active_[u];
    });
}

}  // namespace fairlead

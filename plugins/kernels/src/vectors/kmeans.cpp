#include "fairlead/vectors/kmeans.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "fairlead/dispatch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kTogether = 64;

// splitmix64
std::uint64_t next(std::uint64_t& state) {
    std::uint64_t z = state += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

class Clustering {
public:
    Clustering(const float* sample, std::size_t count, std::size_t dim, std::size_t clusters)
        : sample_(sample), count_(count), dim_(dim), clusters_(clusters), centroids_(clusters * dim), norm2_(clusters),
          price_(clusters, 0.0F), nearest_(count), distance_(count), sizes_(clusters) {}

    void start(std::uint64_t& state) {
        std::vector<std::size_t> order(count_);
        std::iota(order.begin(), order.end(), std::size_t{0});
        for (std::size_t i = 0; i < clusters_; ++i) {
            std::swap(order[i], order[i + next(state) % (count_ - i)]);
            std::copy_n(sample_ + order[i] * dim_, dim_, centroids_.data() + i * dim_);
        }
    }

    void assign() {
        for (std::size_t c = 0; c < clusters_; ++c) {
            const float* x = centroids_.data() + c * dim_;
            norm2_[c] = std::inner_product(x, x + dim_, x, 0.0F);
        }
        parallel_for(count_, kTogether, kTogether, [&](std::size_t begin, std::size_t end) {
            std::vector<float> products(kTogether * clusters_);
            for (std::size_t i = begin; i < end; i += kTogether) assign_some(i, std::min(kTogether, end - i), products);
        });
    }

    void move(float balance, std::uint64_t& state) {
        std::vector<double> sums(clusters_ * dim_, 0.0);
        std::fill(sizes_.begin(), sizes_.end(), std::size_t{0});
        double spread = 0;
        for (std::size_t i = 0; i < count_; ++i) {
            double* sum = sums.data() + nearest_[i] * dim_;
            for (std::size_t d = 0; d < dim_; ++d) sum[d] += sample_[i * dim_ + d];
            ++sizes_[nearest_[i]];
            spread += std::max(0.0F, distance_[i]);
        }
        const double average = static_cast<double>(count_) / static_cast<double>(clusters_);
        const double unit = balance * spread / static_cast<double>(count_);
        for (std::size_t c = 0; c < clusters_; ++c) {
            const auto size = static_cast<double>(sizes_[c]);
            price_[c] = static_cast<float>(unit * (size / average - 1.0));
            for (std::size_t d = 0; sizes_[c] > 0 && d < dim_; ++d) {
                centroids_[c * dim_ + d] = static_cast<float>(sums[c * dim_ + d] / size);
            }
        }
        restart_empty(state);
    }

    std::vector<float> centroids() && { return std::move(centroids_); }

private:
    void assign_some(std::size_t first, std::size_t some, std::vector<float>& products) {
        const float* x = sample_ + first * dim_;
        kernels_in_use().multiply_floats(centroids_.data(), dim_, 0, clusters_, x, some, products.data(), clusters_);
        for (std::size_t j = 0; j < some; ++j) {
            const float* product = products.data() + j * clusters_;
            std::size_t best = 0;
            float least = norm2_[0] + price_[0] - 2 * product[0];
            for (std::size_t c = 1; c < clusters_; ++c) {
                const float cost = norm2_[c] + price_[c] - 2 * product[c];
                if (cost < least) least = cost, best = c;
            }
            const float* row = x + j * dim_;
            nearest_[first + j] = best;
            distance_[first + j] = std::inner_product(row, row + dim_, row, 0.0F) + norm2_[best] - 2 * product[best];
        }
    }

    void restart_empty(std::uint64_t& state) {
        for (std::size_t c = 0; c < clusters_; ++c) {
            if (sizes_[c] > 0) continue;
            const auto largest = static_cast<std::size_t>(std::max_element(sizes_.begin(), sizes_.end()) - sizes_.begin());
            std::size_t i = next(state) % count_;
            while (nearest_[i] != largest) i = (i + 1) % count_;
            std::copy_n(sample_ + i * dim_, dim_, centroids_.data() + c * dim_);
            nearest_[i] = c;
            sizes_[c] = 1;
            --sizes_[largest];
            price_[c] = 0;
        }
    }

    const float* sample_;
    std::size_t count_, dim_, clusters_;
    std::vector<float> centroids_, norm2_, price_;
    std::vector<std::size_t> nearest_;
    std::vector<float> distance_;
    std::vector<std::size_t> sizes_;
};

}  // namespace

std::vector<float> balanced_kmeans(const float* sample, std::size_t count, std::size_t dim, std::size_t clusters,
                                   std::size_t rounds, float balance, std::uint64_t seed) {
    if (clusters == 0 || clusters > count || dim == 0) {
        throw std::invalid_argument("clusters: must be 1 to the number of vectors");
    }
    std::uint64_t state = seed;
    Clustering clustering(sample, count, dim, clusters);
    clustering.start(state);
    for (std::size_t round = 0; round < rounds; ++round) {
        clustering.assign();
        clustering.move(balance, state);
    }
    return std::move(clustering).centroids();
}

}  // namespace fairlead::vectors

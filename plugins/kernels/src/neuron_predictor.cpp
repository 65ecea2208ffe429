#include "fairlead/neuron_predictor.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

#include "fairlead/packed_operators.hpp"
#include "fairlead/scratch.hpp"
#include "fairlead/thread_pool.hpp"

namespace fairlead {
namespace {

// Neurons whose scores are computed and compared in one go.
constexpr std::size_t kNeuronsPerBlock = 256;

static_assert(std::endian::native == std::endian::little, "the first byte of a word is its lowest");

// The first byte of a word that is not zero.
int first_byte(std::uint64_t word) { return std::countr_zero(word) / 8; }

}  // namespace

// Comparisons first, many at a time, then a look at each eight of them: most neurons do not fire.
std::size_t NeuronPredictor::select(const float* scores, std::size_t begin, std::size_t end,
                                    std::int32_t* kept) const {
    std::size_t n = begin;
    for (std::size_t first = begin; first < end; first += kNeuronsPerBlock) {
        const std::size_t count = std::min(kNeuronsPerBlock, end - first);
        alignas(64) std::uint8_t fires[kNeuronsPerBlock] = {};
        for (std::size_t i = 0; i < count; ++i) {
            fires[i] = scores[first + i] + view_.bias[first + i] > view_.threshold ? 1 : 0;
        }
        for (std::size_t eight = 0; eight < count; eight += 8) {
            std::uint64_t word;
            std::memcpy(&word, fires + eight, sizeof word);
            for (; word != 0; word &= word - 1) {
                const auto i = first + eight + static_cast<std::size_t>(first_byte(word));
                kept[n++] = static_cast<std::int32_t>(i);
            }
        }
    }
    return n - begin;
}

// Scores and comparison in one hand-over to the threads.
void NeuronPredictor::predict_one(const KernelTable& k, const InputView& inner, std::vector<std::int32_t>& list) {
    const std::size_t count = neurons();
    const std::size_t blocks = (count + kNeuronsPerBlock - 1) / kNeuronsPerBlock;
    scores_.resize(count);
    kept_.resize(count + 1);
    found_.resize(blocks);
    parallel_for(blocks, grain(kNeuronsPerBlock * view_.b.columns), 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t block = first; block < last; ++block) {
            const std::size_t begin = block * kNeuronsPerBlock;
            const std::size_t end = begin + kNeuronsPerBlock < count ? begin + kNeuronsPerBlock : count;
            std::int32_t kept[kNeuronsPerBlock + 1];
            k.dot_rows_packed(view_.b, nullptr, begin, end, inner, scores_.data());
            found_[block] = static_cast<std::uint32_t>(select(scores_.data(), begin, end, kept - begin));
            for (std::uint32_t i = 0; i < found_[block]; ++i) kept_[begin + i] = kept[i];
        }
    });
    list.clear();
    for (std::size_t block = 0; block < blocks; ++block) {
        const auto from = kept_.begin() + static_cast<std::ptrdiff_t>(block * kNeuronsPerBlock);
        list.insert(list.end(), from, from + found_[block]);
    }
}

void NeuronPredictor::predict_each(const KernelTable& k, std::size_t batch) {
    const std::size_t count = neurons();
    scores_.resize(batch * count);
    kept_.resize(count + 1);
    multiply_packed(k, view_.b, rounded_, scores_.data());
    for (std::size_t t = 0; t < batch; ++t) {
        const std::size_t n = select(scores_.data() + t * count, 0, count, kept_.data());
        lists_[t].assign(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(n));
    }
}

void NeuronPredictor::look(const KernelTable& k, const QuantizedInput& input) {
    const std::size_t rank = view_.a.rows;
    inner_.resize(input.batch() * rank);
    multiply_packed(k, view_.a, input, inner_.data());
    for (float& value : inner_) value = value > 0.0F ? value : 0.0F;
    quantize_input(k, inner_.data(), input.batch(), rank, rounded_);
}

std::int64_t NeuronPredictor::predict_among(const KernelTable& k, const QuantizedInput& input,
                                            const std::int32_t* listed, std::size_t count,
                                            std::vector<std::int32_t>& found) {
    const auto started = std::chrono::steady_clock::now();
    look(k, input);
    scores_.resize(std::max(scores_.size(), count));
    multiply_packed(k, view_.b, listed, count, rounded_, scores_.data(), count);
    for (std::size_t i = 0; i < count; ++i) {
        const float bias = view_.bias[static_cast<std::size_t>(listed[i])];
        if (scores_[i] + bias > view_.threshold) found.push_back(listed[i]);
    }
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - started).count();
}

std::int64_t NeuronPredictor::predict(const KernelTable& k, const QuantizedInput& input) {
    const auto started = std::chrono::steady_clock::now();
    const std::size_t batch = input.batch();
    if (lists_.size() < batch) lists_.resize(batch);
    look(k, input);
    if (batch == 1) {
        predict_one(k, rounded_.view(), lists_[0]);
    } else {
        predict_each(k, batch);
    }
    for (std::size_t t = 0; t < batch && !forced_.empty(); ++t) lists_[t] = forced_[calls_++ % forced_.size()];
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - started).count();
}

}  // namespace fairlead

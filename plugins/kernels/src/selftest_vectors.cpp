// The kernels for vectors against the plain ones, as selftest.cpp does it for those of language models.
#include "selftest_vectors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "fairlead/dispatch.hpp"
#include "fairlead/half.hpp"
#include "fairlead/vectors/bit_codes.hpp"
#include "fairlead/vectors/codes.hpp"
#include "fairlead/vectors/packed_floats.hpp"
#include "fairlead/vectors/tier.hpp"

namespace {

using namespace fairlead::vectors;

constexpr std::size_t kCount = 75;

std::vector<std::byte> stored(const Space& space, std::mt19937& generator) {
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> byte(0, 255);
    std::vector<std::byte> rows(kCount * space.bytes());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(byte(generator));
    for (std::size_t i = 0; i < kCount * space.dim; ++i) {
        const float value = normal(generator);
        const std::uint16_t half = space.element == Element::float16
                                       ? fairlead::float_to_half(value)
                                       : static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, value) >> 16);
        if (space.element == Element::float32) std::memcpy(rows.data() + 4 * i, &value, 4);
        if (space.element == Element::float16 || space.element == Element::bfloat16) {
            std::memcpy(rows.data() + 2 * i, &half, 2);
        }
    }
    return rows;
}

std::vector<float> all_distances(const Space& space, const std::vector<std::byte>& rows) {
    SpaceQuery query(space);
    query.set(rows.data());
    std::vector<float> out(kCount);
    distances_rows(query, rows.data(), space.bytes(), kCount, out.data());
    return out;
}

struct Numbers {
    std::vector<float> matrix, mean, signs;
    std::vector<std::uint32_t> order;

    // Rows that are unit vectors: orthonormal, and exact on every ISA.
    Numbers(std::uint32_t lead, std::uint32_t dim) : matrix(lead * dim), mean(dim, 0.25F), signs(2 * dim, 1), order(2 * dim) {
        for (std::size_t r = 0; r < lead; ++r) matrix[r * dim + r] = 1;
        for (std::size_t i = 0; i < 2 * dim; ++i) {
            order[i] = static_cast<std::uint32_t>(i * 7 % dim);
            signs[i] = i % 3 == 0 ? -1.0F : 1.0F;
        }
    }
};

std::vector<float> leading(const Space& space, const std::vector<std::byte>& rows) {
    const Numbers numbers(130, space.dim);
    const LeadingModel model(space, 130, numbers.matrix.data(), numbers.mean.data(), 0.02F);
    AlignedBytes codes(kCount * leading_stride(130));
    for (std::size_t i = 0; i < kCount; ++i) {
        model.encode(rows.data() + i * space.bytes(), codes.as<std::uint8_t>() + i * leading_stride(130));
    }
    std::vector<std::uint32_t> ids(kCount);
    std::iota(ids.begin(), ids.end(), 0U);
    std::vector<float> out(2 * kCount);
    LeadingQuery query;
    model.prepare(rows.data(), 60, query);
    leading_distances(query, {codes.as<std::uint8_t>(), leading_stride(130), 130}, ids.data(), kCount, out.data());
    model.prepare(rows.data(), 130, query);
    fine_distances(query, {codes.as<std::uint8_t>(), leading_stride(130), 130}, ids.data(), kCount, out.data() + kCount);
    return out;
}

std::vector<float> bit_codes(const Space& space, const BitPlan& plan, const std::vector<std::byte>& rows) {
    const std::uint32_t lead = plan.rest > 0 ? plan.lead : 0;
    const Numbers numbers(lead, space.dim);
    const RotationView rotation{space.dim, lead, 2, numbers.matrix.data(), numbers.mean.data(), numbers.order.data(),
                                numbers.signs.data()};
    const BitModel model(space, plan, rotation, 1, 0.1F, 12);
    AlignedBytes blocks((kCount / kBlock + 1) * plan.block_bytes()), behind(kCount * plan.row_bytes());
    std::vector<float> rotated(plan.dim() + 1), centroid(plan.dim() + 1, 0.1F), out;
    for (std::size_t i = 0; i < kCount; ++i) {
        model.rotate(rows.data() + i * space.bytes(), rotated.data());
        model.encode(rotated.data(), centroid.data(), blocks.data(), i, behind.data() + i * plan.row_bytes());
    }
    BitQuery query;
    model.prepare(rows.data(), query);
    const BitList list = query.list(centroid.data(), 2);
    std::vector<BitCandidate> found(kCount);
    const std::size_t n = scan_list(model, query, list, blocks.data(), kCount, INFINITY, found.data());
    for (std::size_t i = 0; i < n; ++i) out.push_back(found[i].estimate);
    refine(model, query, list, blocks.data(), behind.data(), found.data(), n);
    for (std::size_t i = 0; i < n; ++i) out.push_back(found[i].lower);
    return out;
}

// A code that rounds the other way moves an estimate by a step.
bool near(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
    float largest = 0, difference = 0;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        largest = std::max(largest, std::fabs(b[i]));
        difference = std::max(difference, std::fabs(a[i] - b[i]));
    }
    return a.size() == b.size() && difference <= tolerance * (largest + 1e-3F);
}

template <class F>
bool as_plain(const std::string& isa, float tolerance, const F& f) {
    fairlead::select_isa("plain");
    const std::vector<float> expected = f();
    fairlead::select_isa(isa);
    return near(f(), expected, tolerance);
}

// Rows written to a tier that packs them, some of which cannot be packed, and read in runs: the same bits.
bool packed_rows_return(std::mt19937& generator) {
    constexpr std::size_t kDim = 203, kCount = 40, kRow = 4 * kDim, kRun = 5;
    const auto spilled = std::make_shared<SpilledRows>();
    auto memory = fairlead::TierMemory::anonymous(kCount * PackedFloats(kDim).stride());
    const auto tier = fairlead::make_packed_tier(fairlead::make_memory_tier("dram:", std::move(memory)), kDim, spilled);
    std::normal_distribution<float> normal;
    std::vector<float> rows(kCount * kDim);
    for (float& value : rows) value = normal(generator);
    for (std::size_t i = 0; i < kCount; ++i) rows[i * kDim + i] = 1e-30F;
    for (std::size_t i = 0; i < kCount; i += 8) std::fill_n(&rows[i * kDim + 50], 60, 1e-30F);
    rows[kDim + 1] = -0.0F;
    rows[kDim + 2] = 1e-41F;
    tier->write(0, std::as_bytes(std::span(rows)));
    std::vector<std::byte> found(kCount * kRow);
    std::vector<fairlead::TierRead> reads;
    for (std::size_t i = 0; i < kCount; i += kRun) reads.push_back({i * kRow, kRun * kRow, found.data() + i * kRow});
    tier->wait(tier->submit(reads));
    return spilled->size() == kCount / 8 && std::memcmp(found.data(), rows.data(), found.size()) == 0;
}

}  // namespace

int vector_failures() {
    int failures = 0;
    for (const std::string& isa : fairlead::available_isas()) {
        const auto expect = [&](bool holds, const char* what) {
            std::printf("%-4s %-8s %s\n", holds ? "ok" : "FAIL", isa.c_str(), what);
            failures += holds ? 0 : 1;
        };
        std::mt19937 generator(1);
        bool same = true;
        for (int element = 0; element <= static_cast<int>(Element::bit); ++element) {
            for (int metric = 0; metric <= static_cast<int>(Metric::cosine); ++metric) {
                for (const std::uint32_t dim : {5U, 64U, 203U}) {
                    const Space space{static_cast<Element>(element), static_cast<Metric>(metric), dim};
                    const std::vector<std::byte> rows = stored(space, generator);
                    same = same && as_plain(isa, 1e-5F, [&] { return all_distances(space, rows); });
                }
            }
        }
        expect(same, "distances equal the plain ones");
        expect(packed_rows_return(generator), "packed rows return as they were");
        const Space space{Element::float32, Metric::l2, 203};
        const std::vector<std::byte> rows = stored(space, generator);
        expect(as_plain(isa, 1e-3F, [&] { return leading(space, rows); }), "leading codes equal the plain ones");
        for (const BitPlan& plan : {BitPlan{203, 1, 1, 0, 0}, {203, 2, 5, 0, 0}, {203, 4, 8, 0, 0}, {32, 4, 6, 203, 1}}) {
            expect(as_plain(isa, 1e-3F, [&] { return bit_codes(space, plan, rows); }), "bit codes equal the plain ones");
        }
    }
    return failures;
}

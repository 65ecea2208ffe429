#include "fairlead/vectors/list_coder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

// The signs of a random direction hold sqrt(2 / pi) of it: of a product the part beside it is left, sqrt(1 - 2 / pi).
constexpr float kBeside = 0.6028103F;

void check(const std::vector<float>& array, std::size_t size, const char* name) {
    if (array.size() != size) {
        throw std::invalid_argument(std::string(name) + ": must have " + std::to_string(size) + " numbers, got " +
                                    std::to_string(array.size()));
    }
    if (!std::all_of(array.begin(), array.end(), [](float x) { return std::isfinite(x); })) {
        throw std::invalid_argument(std::string(name) + ": must be finite");
    }
}

// In several sums beside one another: each addition in one sum would wait for the one before it.
float norm2(const float* x, std::size_t count) {
    constexpr std::size_t kSums = 16;
    float sums[kSums] = {};
    std::size_t i = 0;
    for (; i + kSums <= count; i += kSums) {
        for (std::size_t j = 0; j < kSums; ++j) sums[j] += x[i + j] * x[i + j];
    }
    float sum = 0;
    for (; i < count; ++i) sum += x[i] * x[i];
    for (const float part : sums) sum += part;
    return sum;
}

// to_floats, faster for the most common elements.
void floats_of(const Space& space, const std::byte* vector, float* out) {
    if (space.element == Element::float32) {
        std::memcpy(out, vector, sizeof(float) * space.dim);
    } else if (space.element == Element::uint8) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(vector);
        for (std::size_t i = 0; i < space.dim; ++i) out[i] = static_cast<float>(bytes[i]);
    } else {
        to_floats(space, vector, out);
    }
}

// Rounds to the nearest whole number, for magnitudes below 2^22: adding and taking off 1.5 * 2^23 does it.
inline float rounded(float x) {
    constexpr float kRound = 12582912.0F;
    return (x + kRound) - kRound;
}

// out[b, r] = <row r, x[b]>
void products(const std::vector<float>& matrix, std::size_t rows, std::size_t columns, const float* x,
              std::size_t batch, float* out) {
    if (rows == 0 || columns == 0) return;
    kernels_in_use().multiply_floats(matrix.data(), columns, 0, rows, x, batch, out, rows);
}

}  // namespace

ListCoder::ListCoder(ListTraining training) : training_(std::move(training)) {
    const ListTraining& t = training_;
    t.space.check();
    const std::size_t dim = t.space.dim, lead = t.lead();
    if (t.bytes_dims % 4 != 0 || t.nibble_dims % 8 != 0 || lead == 0 || lead > dim) {
        throw std::invalid_argument("lead: 8-bit dimensions must be a multiple of 4, 4-bit ones of 8, at most dim in all");
    }
    check(t.mean, dim, "mean");
    check(t.reflectors, lead * dim, "reflectors");
    check(t.triangle, lead * lead, "triangle");
    check(t.steps, lead, "steps");
    check(t.signs, 4 * (dim - lead), "signs");
    if (!std::all_of(t.steps.begin(), t.steps.end(), [](float s) { return s > 0; })) {
        throw std::invalid_argument("steps: must be positive");
    }
    training_.tail = t.tail && lead < dim;
    rounding_ = std::sqrt(norm2(t.steps.data(), lead) / (12.0F * static_cast<float>(lead)));
}

void ListCoder::turn(const std::byte* vectors, std::size_t count, bool centre, Turned& out) const {
    const std::size_t dim = space().dim, lead = training_.lead(), rest = dim - lead;
    std::vector<float>&x = out.whole, &first = out.first, &second = out.second, &change = out.change;
    x.resize(count * dim);
    first.resize(count * lead);
    second.resize(count * lead);
    change.resize(count * dim);
    for (std::size_t i = 0; i < count; ++i) {
        float* row = x.data() + i * dim;
        floats_of(space(), vectors + i * space().bytes(), row);
        if (cosine()) {
            const float length = std::sqrt(norm2(row, dim));
            const float inverse = length > 0 ? 1.0F / length : 0.0F;
            for (std::size_t c = 0; c < dim; ++c) row[c] *= inverse;
        }
        if (!centre) continue;
        for (std::size_t c = 0; c < dim; ++c) row[c] -= training_.mean[c];
    }
    products(training_.reflectors, lead, dim, x.data(), count, first.data());
    products(training_.triangle, lead, lead, first.data(), count, second.data());
    // The same rows once more, which for a query alone is as long as it takes: they are near now.
    list_kernels().combine(training_.reflectors.data(), lead, dim, second.data(), count, change.data());
    out.lead.resize(count * lead);
    out.tail.resize(count * rest);
    out.tail_norm2.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        const float* from = x.data() + i * dim;
        const float* less = change.data() + i * dim;
        for (std::size_t c = 0; c < lead; ++c) out.lead[i * lead + c] = from[c] - less[c];
        float* tail = out.tail.data() + i * rest;
        for (std::size_t c = 0; c < rest; ++c) tail[c] = from[lead + c] - less[lead + c];
        out.tail_norm2[i] = norm2(tail, rest);
        if (training_.tail) list_kernels().randomize(tail, rest, training_.signs.data());
    }
}

void ListCoder::prepare(const std::byte* queries, std::size_t count, Turned& scratch,
                        std::vector<ListQuery>& out) const {
    turn(queries, count, !dots(), scratch);
    out.resize(count);
    const std::size_t lead = training_.lead(), rest = space().dim - lead;
    std::vector<float> whole(dots() ? space().dim : 0);
    for (std::size_t i = 0; i < count; ++i) {
        ListQuery& query = out[i];
        const float* from = scratch.lead.data() + i * lead;
        query.lead.assign(from, from + lead);
        query.lead_norm2 = norm2(from, lead);
        query.tail_norm2 = scratch.tail_norm2[i];
        query.mean_product = 0;
        if (dots()) {
            to_floats(space(), queries + i * space().bytes(), whole.data());
            for (std::size_t c = 0; c < whole.size(); ++c) query.mean_product += whole[c] * training_.mean[c];
        }
        if (!training_.tail) continue;
        const float* tail = scratch.tail.data() + i * rest;
        query.tail.assign((rest + 63) / 64 * 64, 0);
        query.tail_scale = list_kernels().round_to_bytes(tail, rest, query.tail.data(), query.tail_sum);
    }
}

float ListCoder::code_of(float value, std::uint32_t dim) const {
    const float half = dim < training_.bytes_dims ? 128.0F : 8.0F;
    return std::clamp(std::floor(value / training_.steps[dim]) + half, 0.0F, 2 * half - 1);
}

float ListCoder::encode_lead(const Turned& turned, std::size_t i, const float* centroid, std::uint8_t* codes) const {
    const std::uint32_t lead = training_.lead(), whole = training_.bytes_dims;
    const float* x = turned.lead.data() + i * lead;
    float own = turned.tail_norm2[i];
    for (std::uint32_t d = 0; d < lead; ++d) {
        const float residual = x[d] - centroid[d];
        own += residual * residual;
        const auto code = static_cast<std::uint8_t>(code_of(residual, d));
        if (d < whole) codes[d] = code;
        else if ((d - whole) % 2 == 0) codes[whole + (d - whole) / 2] = code;
        else codes[whole + (d - whole) / 2] |= static_cast<std::uint8_t>(code << 4);
    }
    return dots() ? 0.0F : cosine() ? own / 2 : own;
}

float ListCoder::encode_tail(const Turned& turned, std::size_t i, std::uint8_t* bits) const {
    const std::size_t rest = training_.tail_dims();
    // Without bits all of it is left out: an error as of bits whose share beside them is one.
    if (rest == 0) return rounding_ / kBeside;
    if (!training_.tail) return std::sqrt(turned.tail_norm2[i] / static_cast<float>(rest)) / kBeside;
    const float* x = turned.tail.data() + i * rest;
    std::fill(bits, bits + tail_bytes(), std::uint8_t{0});
    float sum = 0;
    for (std::size_t c = 0; c < rest; ++c) {
        if (x[c] > 0) bits[c / 8] |= static_cast<std::uint8_t>(1U << (c % 8));
        sum += std::fabs(x[c]);
    }
    return sum > 0 ? turned.tail_norm2[i] / sum : 0.0F;
}

ListScan ListCoder::aim(const ListQuery& query, const float* centroid, float centroid_norm2, float product,
                        std::int8_t* low, std::int8_t* high) const {
    const std::uint32_t lead = training_.lead(), whole = training_.bytes_dims;
    float weighted[4096];
    float largest = 0;
    std::vector<float> wide;
    float* w = weighted;
    if (lead > 4096) wide.resize(lead), w = wide.data();
    for (std::uint32_t d = 0; d < lead; ++d) {
        w[d] = (dots() ? query.lead[d] : query.lead[d] - centroid[d]) * training_.steps[d];
    }
    for (std::uint32_t d = 0; d < lead; ++d) largest = std::max(largest, std::fabs(w[d]));
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    for (std::uint32_t d = 0; d < lead; ++d) w[d] = rounded(w[d] * inverse);
    std::int32_t whole_sum = 0, half_sum = 0;
    for (std::uint32_t d = 0; d < whole; ++d) {
        low[d] = static_cast<std::int8_t>(static_cast<std::int32_t>(w[d]));
        high[d] = 0;
        whole_sum += low[d];
    }
    for (std::uint32_t d = whole, b = whole; d < lead; d += 2, ++b) {
        low[b] = static_cast<std::int8_t>(static_cast<std::int32_t>(w[d]));
        high[b] = static_cast<std::int8_t>(static_cast<std::int32_t>(w[d + 1]));
        half_sum += low[b] + high[b];
    }
    const float scale = product_weight() * largest / 127.0F;
    const float middle = 127.5F * static_cast<float>(whole_sum) + 7.5F * static_cast<float>(half_sum);
    float base = query.lead_norm2 + centroid_norm2 - 2 * product + query.tail_norm2;
    if (cosine()) base /= 2;
    if (dots()) base = -(query.mean_product + product);
    return {low, high, row(), whole, base + scale * middle, scale};
}

float ListCoder::tail_share(const ListQuery& query, const std::uint8_t* bits, float scale) const {
    const std::int32_t set = list_kernels().sum_bits(query.tail.data(), bits, tail_bytes());
    return product_weight() * scale * query.tail_scale * static_cast<float>(2 * set - query.tail_sum);
}

float ListCoder::spread(const ListQuery& query) const {
    return product_weight() * kBeside * std::sqrt(training_.tail_dims() > 0 ? query.tail_norm2 : query.lead_norm2);
}

}  // namespace fairlead::vectors

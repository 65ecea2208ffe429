#include "fairlead/vectors/bit_codes.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "bit_segment.hpp"
#include "fairlead/half.hpp"
#include "fairlead/vectors/kernels.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kRowNumbers = 8;  // float16: what the base changes by, factors of both segments, spread

constexpr std::size_t whole_chunks(std::size_t dims) { return (dims + 63) / 64; }

template <class T>
T* buffer(int which, std::size_t size) {
    thread_local std::vector<T> buffers[4];
    if (buffers[which].size() < size) buffers[which].resize(size);
    return buffers[which].data();
}

float dot(const float* a, const float* b, std::size_t n) {
    float out = 0;
    if (n > 0) vector_kernels().project(a, 1, n, b, &out);
    return out;
}

// Calls f(bits, shift) for the planes of codes of so many bits, the uppermost first.
template <class F>
void for_planes(std::uint32_t bits, const F& f) {
    for (const std::uint32_t plane : {4U, 4U, 2U, 1U}) {
        if (bits >= plane) f(plane, bits -= plane);
    }
}

void pack_plane(std::uint32_t bits, std::uint32_t shift, const std::uint8_t* codes, std::size_t d, std::uint8_t* out) {
    const std::uint32_t mask = (1U << bits) - 1;
    for (std::size_t i = 0; i < d; ++i) {
        const std::uint32_t code = codes[i] >> shift & mask;
        std::uint8_t* chunk = out + i / 64 * 8 * bits;
        const std::size_t k = i % 64, each = 8 * bits;
        if (bits == 1) chunk[k / 8] = static_cast<std::uint8_t>(chunk[k / 8] | code << k % 8);
        else chunk[k % each] = static_cast<std::uint8_t>(chunk[k % each] | code << k / each * bits);
    }
}

std::uint8_t* pack_planes(std::uint32_t bits, const std::uint8_t* codes, std::size_t d, std::uint8_t* out) {
    for_planes(bits, [&](std::uint32_t plane, std::uint32_t shift) {
        const std::size_t bytes = whole_chunks(d) * 8 * plane;
        std::memset(out, 0, bytes);
        pack_plane(plane, shift, codes, d, out);
        out += bytes;
    });
    return out;
}

// The dot product of the codes in planes with a query; moves on behind them.
std::int32_t planes_dot(const VectorKernels& kernels, std::uint32_t bits, const std::uint8_t*& codes, std::size_t d,
                        const std::int8_t* query) {
    std::int32_t sum = 0;
    for_planes(bits, [&](std::uint32_t plane, std::uint32_t shift) {
        const std::size_t chunks = whole_chunks(d);
        sum += kernels.plane_dot(static_cast<int>(plane), codes, query, chunks) * (1 << shift);
        codes += chunks * 8 * plane;
    });
    return sum;
}

// Rounds to 8 bits; returns the step and the sum of the codes.
std::pair<float, std::int32_t> round_query(const float* y, std::size_t d, std::int8_t* out) {
    float largest = 0;
    for (std::size_t i = 0; i < d; ++i) largest = std::max(largest, std::fabs(y[i]));
    const float step = largest > 0 ? largest / 127 : 1.0F, inverse = 1 / step;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < d; ++i) {
        const auto code = static_cast<std::int32_t>(std::nearbyint(std::clamp(y[i] * inverse, -127.0F, 127.0F)));
        out[i] = static_cast<std::int8_t>(code);
        sum += code;
    }
    return {step, sum};
}

float offset_of(std::uint32_t bits, float step, std::int32_t sum) {
    return -step * static_cast<float>(sum) * static_cast<float>((1U << bits) - 1) / 2;
}

float weight_of(Metric metric) { return metric == Metric::l2 ? 2.0F : 1.0F; }

// float16 that is stored, in a unit, and what it stands for.
float rounded(float value, float unit, std::uint16_t& stored) {
    stored = float_to_half(value / unit);
    return half_to_float(stored) * unit;
}

}  // namespace

std::size_t BitPlan::row_bytes() const {
    const std::size_t bits = whole_chunks(lead) * (lead_bits - scan_bits) + whole_chunks(rest) * rest_bits;
    return bits == 0 ? 0 : kRowNumbers + 8 * bits;
}

void BitPlan::check() const {
    if (scan_bits != 1 && scan_bits != 2 && scan_bits != 4) throw std::invalid_argument("scan_bits: must be 1, 2 or 4");
    if (lead_bits < scan_bits || lead_bits > 8) throw std::invalid_argument("lead_bits: must be scan_bits..8");
    if (rest_bits > 8) throw std::invalid_argument("rest_bits: must be 0..8");
    if (lead < 1 || lead > kMostDim || rest > kMostDim) throw std::invalid_argument("lead, rest: too few or too many");
    if (rest == 0 && rest_bits > 0) throw std::invalid_argument("rest_bits: there is no rest");
}

BitModel::BitModel(const Space& space, const BitPlan& plan, const RotationView& rotation, float balance, float unseen,
                   float unit)
    : space_(space), plan_(plan), rotation_(rotation), balance_(balance), unseen_(unseen), unit_(unit) {
    space.check();
    plan.check();
    if (space.element == Element::bit) throw std::invalid_argument("element: bits are codes themselves");
    if (rotation.dim != space.dim) throw std::invalid_argument("rotation: is of another dimension");
    const bool fits = rotation.lead > 0 ? plan.lead == rotation.lead && plan.rest == rotation.dim
                                        : plan.lead == rotation.dim && plan.rest == 0;
    if (!fits) throw std::invalid_argument("plan: its segments must be the rotation's");
    if (!(balance > 0) || !(unseen >= 0) || !(unit > 0)) {
        throw std::invalid_argument("balance, unseen, unit: must be positive");
    }
}

void BitModel::rotate_floats(const float* vector, float* out) const {
    const std::size_t dim = space_.dim;
    const float* x = vector;
    if (space_.metric == Metric::cosine) {
        float* unit = buffer<float>(0, dim);
        const float square = dot(vector, vector, dim);
        const float factor = square > 0 ? 1 / std::sqrt(square) : 0.0F;
        for (std::size_t i = 0; i < dim; ++i) unit[i] = vector[i] * factor;
        x = unit;
    }
    out[plan_.dim()] = dot(x, rotation_.mean, dim);
    rotation_.apply(x, out);
}

void BitModel::rotate(const void* vector, float* out) const {
    if (space_.element == Element::float32) return rotate_floats(static_cast<const float*>(vector), out);
    float* raw = buffer<float>(1, space_.dim);
    to_floats(space_, vector, raw);
    rotate_floats(raw, out);
}

void BitModel::encode(const float* y, const float* c, std::byte* blocks, std::size_t position, std::byte* row) const {
    const std::size_t lead = plan_.lead, rest = plan_.rest, dim = plan_.dim();
    float* o = buffer<float>(2, dim);
    for (std::size_t i = 0; i < dim; ++i) o[i] = y[i] - c[i];
    std::uint8_t* codes = buffer<std::uint8_t>(0, dim);
    const float weight = weight_of(space_.metric);
    const std::uint32_t shift = plan_.lead_bits - plan_.scan_bits;
    segment_codes(o, lead, plan_.lead_bits, codes);
    const SegmentFit scanned = segment_fit(o, lead, plan_.lead_bits, shift, codes);
    const float rest_norm = std::sqrt(dot(o + lead, o + lead, rest));
    const float own = space_.metric == Metric::dot ? -y[dim] - dot(o, c, dim) : 0.5F * weight * dot(o, o, dim);

    std::byte* block = blocks + position / kBlock * plan_.block_bytes();
    const std::size_t lane = position % kBlock;
    const std::size_t per_word = 32 / plan_.scan_bits;
    for (std::size_t t = 0; t < plan_.words(); ++t) {
        std::uint8_t word[4] = {};
        for (std::size_t k = 0; k < per_word && t * per_word + k < lead; ++k) {
            const std::uint32_t code = codes[t * per_word + k] >> shift;
            word[k % 4] = static_cast<std::uint8_t>(word[k % 4] | code << k / 4 * plan_.scan_bits);
        }
        std::memcpy(block + t * kLine + 4 * lane, word, 4);
    }
    std::byte* numbers = block + plan_.words() * kLine;
    std::uint16_t half[4];
    const float factor = rounded(weight * scanned.factor, unit_, half[0]);
    const float base = own + factor * segment_product(codes, lead, plan_.lead_bits, shift, c);
    half[1] = float_to_half(weight * std::hypot(scanned.spread, balance_ * unseen_ * rest_norm) / unit_);
    std::memcpy(numbers + 4 * lane, &base, 4);
    std::memcpy(numbers + kLine + 2 * lane, &half[0], 2);
    std::memcpy(numbers + kLine + 32 + 2 * lane, &half[1], 2);
    if (plan_.row_bytes() == 0) return;

    const SegmentFit whole = segment_fit(o, lead, plan_.lead_bits, 0, codes);
    float fine = own + rounded(weight * whole.factor, unit_, half[1]) * segment_product(codes, lead, plan_.lead_bits, 0, c);
    float rest_spread = unseen_ * rest_norm;
    half[2] = 0;
    if (plan_.rest_bits > 0) {
        segment_codes(o + lead, rest, plan_.rest_bits, codes + lead);
        const SegmentFit fit = segment_fit(o + lead, rest, plan_.rest_bits, 0, codes + lead);
        fine += rounded(weight * fit.factor, unit_, half[2]) * segment_product(codes + lead, rest, plan_.rest_bits, 0, c + lead);
        rest_spread = fit.spread;
    }
    half[0] = float_to_half((fine - base) / (unit_ * unit_));
    half[3] = float_to_half(weight * std::hypot(whole.spread, balance_ * rest_spread) / unit_);
    std::memcpy(row, half, sizeof half);
    auto* into = reinterpret_cast<std::uint8_t*>(row) + kRowNumbers;
    into = pack_planes(shift, codes, lead, into);
    pack_planes(plan_.rest_bits, codes + lead, rest, into);
}

void BitModel::prepare(const void* vector, BitQuery& query) const {
    float* rotated = buffer<float>(3, plan_.dim() + 1);
    rotate(vector, rotated);
    prepare_rotated(rotated, query);
}

void BitModel::prepare_floats(const float* vector, BitQuery& query) const {
    float* rotated = buffer<float>(3, plan_.dim() + 1);
    rotate_floats(vector, rotated);
    prepare_rotated(rotated, query);
}

void BitModel::prepare_rotated(const float* y, BitQuery& query) const {
    const std::size_t lead = plan_.lead, rest = plan_.rest, dim = plan_.dim();
    query.model_ = this;
    query.rotated_.resize(4 * (dim + 1));
    std::memcpy(query.rotated_.data(), y, 4 * (dim + 1));
    query.lead_.resize(std::max(64 * whole_chunks(lead), plan_.words() * 32 / plan_.scan_bits));
    auto [step, sum] = round_query(y, lead, query.lead_.as<std::int8_t>());
    step *= unit_;  // what products are multiplied by is stored in units
    query.scan_scale_ = query.lead_scale_ = step;
    query.scan_offset_ = offset_of(plan_.scan_bits, step, sum);
    query.lead_offset_ = offset_of(plan_.lead_bits, step, sum);
    query.rest_.resize(64 * whole_chunks(rest));
    if (plan_.rest_bits == 0) return;
    std::tie(step, sum) = round_query(y + lead, rest, query.rest_.as<std::int8_t>());
    step *= unit_;
    query.rest_scale_ = step;
    query.rest_offset_ = offset_of(plan_.rest_bits, step, sum);
}

BitQueryView BitQuery::view() const {
    const auto* lead = lead_.as<std::int8_t>();
    return {lead, lead, rest_.as<std::int8_t>(), scan_scale_, scan_offset_, lead_scale_, lead_offset_, rest_scale_,
            rest_offset_};
}

BitList BitQuery::list(const float* c, float confidence_scale) const {
    const BitPlan& plan = model_->plan();
    const std::size_t dim = plan.dim();
    const float* y = rotated();
    float lead = 0, rest = 0, part;
    SpaceQueryView view{y, plan.lead, Element::float32, Metric::l2, 0};
    vector_kernels().distances(view, reinterpret_cast<const std::byte*>(c), 0, nullptr, 1, &lead);
    if (plan.rest > 0) {
        view.data = y + plan.lead;
        view.dim = plan.rest;
        vector_kernels().distances(view, reinterpret_cast<const std::byte*>(c + plan.lead), 0, nullptr, 1, &rest);
    }
    const float length = std::max(std::sqrt(lead), std::sqrt(rest) / model_->balance());
    BitList list{0.5F * weight_of(model_->space().metric) * (lead + rest), confidence_scale * length * model_->unit()};
    if (model_->space().metric == Metric::dot) {
        vector_kernels().project(c, 1, dim, y, &part);
        const float* mean = model_->rotation().mean;
        list.add = dot(mean, mean, model_->space().dim) - y[dim] - part;
    }
    return list;
}

std::size_t scan_list(const BitModel& model, const BitQuery& query, const BitList& list, const std::byte* blocks,
                      std::size_t n, float limit, BitCandidate* out) {
    return vector_kernels().scan(model.plan(), query.view(), list, blocks, n, limit, out);
}

void refine(const BitModel& model, const BitQuery& query, const BitList& list, const std::byte* blocks,
            const std::byte* rows, BitCandidate* candidates, std::size_t n) {
    const BitPlan& plan = model.plan();
    const std::size_t bytes = plan.row_bytes();
    if (bytes == 0) return;
    const VectorKernels& kernels = vector_kernels();
    const BitQueryView view = query.view();
    const float square = model.unit() * model.unit();
    constexpr std::size_t ahead = 4;
    const auto fetch = [&](std::size_t i) {
        const std::byte* row = rows + candidates[i].position * bytes;
        for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(row + at);
    };
    for (std::size_t i = 0; i < ahead && i < n; ++i) fetch(i);
    for (std::size_t i = 0; i < n; ++i) {
        if (i + ahead < n) fetch(i + ahead);
        BitCandidate& candidate = candidates[i];
        const std::byte* block = blocks + candidate.position / kBlock * plan.block_bytes() + plan.words() * kLine;
        float base;
        std::memcpy(&base, block + candidate.position % kBlock * 4, sizeof base);
        std::uint16_t half[4];
        const std::byte* row = rows + candidate.position * bytes;
        std::memcpy(half, row, sizeof half);
        const auto* codes = reinterpret_cast<const std::uint8_t*>(row) + kRowNumbers;
        const std::uint32_t shift = plan.lead_bits - plan.scan_bits;
        const std::int32_t lead = candidate.dot * (1 << shift) + planes_dot(kernels, shift, codes, plan.lead, view.lead);
        float product = half_to_float(half[1]) * (view.lead_scale * static_cast<float>(lead) + view.lead_offset);
        if (plan.rest_bits > 0) {
            const std::int32_t rest = planes_dot(kernels, plan.rest_bits, codes, plan.rest, view.rest);
            product += half_to_float(half[2]) * (view.rest_scale * static_cast<float>(rest) + view.rest_offset);
        }
        candidate.estimate = base + half_to_float(half[0]) * square + list.add - product;
        candidate.lower = candidate.estimate - list.slack * half_to_float(half[3]);
    }
}

}  // namespace fairlead::vectors

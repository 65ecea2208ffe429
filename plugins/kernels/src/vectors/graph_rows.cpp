#include "fairlead/vectors/graph_rows.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

void prefetch_bytes(const std::byte* from, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(from + at);
}

class ExactRows final : public GraphRows {
public:
    explicit ExactRows(const Space& space)
        : space_(space), stored_(space), stride_(space.bytes()),
          bytes_(space.element == Element::uint8 && space.metric == Metric::l2) {
        if (augmented()) stored_.metric = Metric::l2;
    }

    std::size_t row_bytes() const override { return stride_ + (augmented() ? sizeof(float) : 0); }
    void resize(std::size_t rows) override {
        rows_.resize(rows * stride_);
        if (augmented()) more_.resize(rows * sizeof(float));
    }
    std::byte* row(std::uint32_t id) const override { return rows_.data() + id * stride_; }
    void set_more(std::uint32_t id, float more) override {
        if (augmented()) more_.as<float>()[id] = more;
    }
    float more(std::uint32_t id) const override { return augmented() ? more_.as<float>()[id] : 0.0F; }
    std::size_t stride() const override { return stride_; }

    void to_query(const std::byte* query, const std::uint32_t* ids, std::size_t count, float* out) const override {
        measure(space_, query, ids, count, out);
    }
    void between(std::uint32_t id, const std::uint32_t* ids, std::size_t count, float* out) const override {
        measure(stored_, rows_.data() + id * stride_, ids, count, out);
        if (!augmented()) return;
        const float* more = more_.as<float>();
        for (std::size_t i = 0; i < count; ++i) out[i] += (more[id] - more[ids[i]]) * (more[id] - more[ids[i]]);
    }
    void prefetch(std::uint32_t id) const override { prefetch_bytes(rows_.data() + id * stride_, stride_); }

private:
    bool augmented() const { return space_.metric == Metric::dot && space_.element != Element::bit; }

    void measure(const Space& space, const std::byte* from, const std::uint32_t* ids, std::size_t count,
                 float* out) const {
        if (bytes_) {
            kernels_in_use().byte_distances(reinterpret_cast<const std::uint8_t*>(from), rows_.as<std::uint8_t>(),
                                            stride_, stride_, ids, count, out);
            return;
        }
        SpaceQuery query(space);
        query.set(from);
        distances(query, rows_.data(), stride_, ids, count, out);
    }

    Space space_;
    Space stored_;  // how stored vectors are compared with each other
    std::size_t stride_;
    bool bytes_;
    HugeBuffer rows_, more_;
};

// The walk's codes alone.
class LeadingRows : public GraphRows {
public:
    LeadingRows(const WalkEncoder& encoder, const HugeBuffer& codes) : encoder_(encoder), codes_(codes) {}

    std::size_t row_bytes() const override { return 0; }
    std::size_t stride() const override { return 0; }
    void resize(std::size_t) override {}
    std::byte* row(std::uint32_t) const override { return nullptr; }
    void to_query(const std::byte*, const std::uint32_t*, std::size_t, float*) const override {}
    void between(std::uint32_t id, const std::uint32_t* ids, std::size_t count, float* out) const override {
        const auto* codes = codes_.as<std::uint8_t>();
        const std::size_t stride = encoder_.code_bytes();
        const KernelTable& kernels = kernels_in_use();
        const auto distances = encoder_.bits == 4 ? kernels.nibble_distances : kernels.byte_distances;
        distances(codes + id * stride, codes, stride, encoder_.packed(), ids, count, out);
    }
    void prefetch(std::uint32_t) const override {}

protected:
    const WalkEncoder& encoder_;
    const HugeBuffer& codes_;
};

class CodeRows final : public LeadingRows {
public:
    using LeadingRows::LeadingRows;

    std::size_t row_bytes() const override { return encoder_.row_bytes(); }
    std::size_t stride() const override { return encoder_.row_bytes(); }
    void resize(std::size_t rows) override { rows_.resize(rows * stride() + kCodedSlack); }
    std::byte* row(std::uint32_t id) const override { return rows_.data() + id * stride(); }

    // |x - q|^2 = |x|^2 + |q|^2 - 2 <x, q>, of which only the product depends on how x was rounded.
    void to_query(const std::byte* query, const std::uint32_t* ids, std::size_t count, float* out) const override {
        const std::size_t lead = encoder_.leading(), all = lead + encoder_.trailing;
        std::vector<float> scaled(all);
        std::vector<std::int16_t> values(all + kCodedScratch);
        const auto* given = reinterpret_cast<const float*>(query);
        const float fine = encoder_.step / static_cast<float>(1U << encoder_.extra);
        for (std::size_t d = 0; d < all; ++d) scaled[d] = given[d] * (d < lead ? fine : encoder_.tail_step);
        const CodedRows coded{codes_.as<std::uint8_t>(), encoder_.code_bytes(), lead, encoder_.bits, encoder_.extra,
                              rows_.as<std::uint8_t>(), stride(), encoder_.trailing, encoder_.tail_bits};
        kernels_in_use().coded_products(coded, ids, count, scaled.data(), values.data(), out);
        const float unit = 2.0F * encoder_.score_unit();
        // With equally long vectors half of it is 1 - cos.
        const bool cosine = encoder_.space.metric == Metric::cosine && encoder_.space.element != Element::bit;
        for (std::size_t i = 0; i < count; ++i) {
            std::int32_t half_norm;
            std::memcpy(&half_norm, codes_.data() + ids[i] * encoder_.code_bytes() + encoder_.packed(),
                        sizeof half_norm);
            out[i] = std::max(0.0F, unit * static_cast<float>(half_norm) + given[all] - 2.0F * out[i]);
            if (cosine) out[i] /= 2.0F;
        }
    }
    void prefetch(std::uint32_t id) const override {
        prefetch_bytes(rows_.data() + id * stride(), stride());
        prefetch_bytes(codes_.data() + id * encoder_.code_bytes(), encoder_.code_bytes());
    }

private:
    HugeBuffer rows_;
};

}  // namespace

std::unique_ptr<GraphRows> exact_rows(const Space& space) { return std::make_unique<ExactRows>(space); }

std::unique_ptr<GraphRows> code_rows(const WalkEncoder& encoder, const HugeBuffer& codes) {
    return std::make_unique<CodeRows>(encoder, codes);
}

std::unique_ptr<GraphRows> leading_rows(const WalkEncoder& encoder, const HugeBuffer& codes) {
    return std::make_unique<LeadingRows>(encoder, codes);
}

}  // namespace fairlead::vectors

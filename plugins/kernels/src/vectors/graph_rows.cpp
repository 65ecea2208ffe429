#include "fairlead/vectors/graph_rows.hpp"

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

    std::size_t query_bytes() const override { return stride_; }
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

class CodeRows final : public GraphRows {
public:
    CodeRows(const WalkEncoder& encoder, const HugeBuffer& codes) : encoder_(encoder), codes_(codes) {}

    std::size_t query_bytes() const override { return encoder_.code_bytes() + encoder_.trailing + sizeof(float); }
    std::size_t row_bytes() const override { return encoder_.trailing; }
    std::size_t stride() const override { return encoder_.trailing; }
    void resize(std::size_t rows) override { tails_.resize(rows * encoder_.trailing); }
    std::byte* row(std::uint32_t id) const override { return tails_.data() + id * encoder_.trailing; }

    void to_query(const std::byte* query, const std::uint32_t* ids, std::size_t count, float* out) const override {
        measure(query, query + encoder_.code_bytes(), ids, count, out);
        if (encoder_.space.element == Element::bit || encoder_.space.metric == Metric::l2) return;
        // |x - q|^2 = |x|^2 + |q|^2 - 2 <x, q>, where all |x| are the same.
        float norms = 0.0F;
        if (encoder_.augmented()) {
            std::memcpy(&norms, query + encoder_.code_bytes() + encoder_.trailing, sizeof norms);
            norms += encoder_.longest;
        }
        for (std::size_t i = 0; i < count; ++i) out[i] = (out[i] - norms) / 2.0F;
    }
    void between(std::uint32_t id, const std::uint32_t* ids, std::size_t count, float* out) const override {
        measure(codes_.data() + id * encoder_.code_bytes(), tails_.data() + id * encoder_.trailing, ids, count, out);
    }
    void prefetch(std::uint32_t id) const override {
        prefetch_bytes(tails_.data() + id * encoder_.trailing, encoder_.trailing);
    }

private:
    void measure(const std::byte* code, const std::byte* tail, const std::uint32_t* ids, std::size_t count,
                 float* out) const {
        const KernelTable& kernels = kernels_in_use();
        kernels.byte_distances(reinterpret_cast<const std::uint8_t*>(tail), tails_.as<std::uint8_t>(),
                               encoder_.trailing, encoder_.trailing, ids, count, out);
        const float lead = encoder_.step * encoder_.step, trail = encoder_.tail_step * encoder_.tail_step;
        for (std::size_t i = 0; i < count; ++i) out[i] *= trail;
        std::vector<float> leading(count);
        kernels.byte_distances(reinterpret_cast<const std::uint8_t*>(code), codes_.as<std::uint8_t>(),
                               encoder_.code_bytes(), encoder_.leading(), ids, count, leading.data());
        for (std::size_t i = 0; i < count; ++i) out[i] += lead * leading[i];
    }

    const WalkEncoder& encoder_;
    const HugeBuffer& codes_;
    HugeBuffer tails_;
};

class LeadingRows final : public GraphRows {
public:
    LeadingRows(const WalkEncoder& encoder, const HugeBuffer& codes) : encoder_(encoder), codes_(codes) {}

    std::size_t query_bytes() const override { return encoder_.code_bytes(); }
    std::size_t row_bytes() const override { return 0; }
    std::size_t stride() const override { return 0; }
    void resize(std::size_t) override {}
    std::byte* row(std::uint32_t id) const override { return codes_.data() + id * encoder_.code_bytes(); }
    void to_query(const std::byte* query, const std::uint32_t* ids, std::size_t count, float* out) const override {
        kernels_in_use().byte_distances(reinterpret_cast<const std::uint8_t*>(query), codes_.as<std::uint8_t>(),
                                        encoder_.code_bytes(), encoder_.leading(), ids, count, out);
    }
    void between(std::uint32_t id, const std::uint32_t* ids, std::size_t count, float* out) const override {
        to_query(row(id), ids, count, out);
    }
    void prefetch(std::uint32_t) const override {}

private:
    const WalkEncoder& encoder_;
    const HugeBuffer& codes_;
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

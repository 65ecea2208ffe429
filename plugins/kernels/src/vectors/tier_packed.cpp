#include <cstring>
#include <unordered_map>

#include "fairlead/vectors/packed_floats.hpp"
#include "fairlead/vectors/tier.hpp"

namespace fairlead {
namespace {

using vectors::PackedFloats;
using vectors::SpilledRows;

constexpr std::size_t kWritten = 64;  // rows that are packed and written together

// Rows arrive packed at the end of where they are wanted, and are unpacked forward from there: no memory beside that of
// the caller is needed, and the inner tier's landing zone is this one's.
class PackedTier final : public Tier {
public:
    PackedTier(std::shared_ptr<Tier> inner, PackedFloats packing, std::shared_ptr<SpilledRows> spilled)
        : Tier(inner->url(), inner->size() / packing.stride() * packing.row_bytes(), inner->timeout()),
          inner_(std::move(inner)), packing_(packing), spilled_(std::move(spilled)), row_(packing.row_bytes()),
          stride_(packing.stride()), one_(stride_) {}

    const char* kind() const override { return inner_->kind(); }
    std::uint64_t size() const override { return inner_->size() / stride_ * row_; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        packed_.clear();
        for (const TierRead& read : reads) {
            check_rows(read.offset, read.length);
            const auto length = static_cast<std::uint32_t>(read.length / row_ * stride_);
            packed_.push_back({read.offset / row_ * stride_, length, read.into + (read.length - length)});
        }
        count(packed_);
        Batch batch{inner_->submit(packed_), {}};
        if (!spare_.empty()) {
            batch.reads = std::move(spare_.back());
            spare_.pop_back();
        }
        batch.reads.assign(reads.begin(), reads.end());
        batches_.emplace(++last_, std::move(batch));
        return last_;
    }

    bool done(std::uint64_t ticket) override {
        return arrived(ticket, [&](std::uint64_t inner) { return inner_->done(inner); });
    }

    void wait(std::uint64_t ticket) override {
        arrived(ticket, [&](std::uint64_t inner) {
            inner_->wait(inner);
            return true;
        });
    }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_rows(offset, bytes.size());
        check_range(offset, bytes.size());
        const std::size_t rows = bytes.size() / row_;
        for (std::size_t i = 0; i < rows; i += kWritten) {
            const std::size_t some = std::min(kWritten, rows - i);
            const std::uint64_t first = offset / row_ + i;
            written_.resize(some * stride_);
            vectors::pack_rows(packing_, *spilled_, first, bytes.data() + i * row_, some, written_.data());
            inner_->write(first * stride_, std::as_bytes(std::span(written_)));
        }
    }

    std::span<std::byte> landing(std::size_t bytes) override { return inner_->landing(bytes); }
    std::size_t most_landing() const override { return inner_->most_landing(); }

private:
    struct Batch {
        std::uint64_t ticket;
        std::vector<TierRead> reads;
    };

    void check_rows(std::uint64_t offset, std::uint64_t length) const {
        // Those that leave the region are refused as such.
        check_range(offset, length);
        if (offset % row_ == 0 && length % row_ == 0) return;
        throw std::invalid_argument(url() + ": " + std::to_string(length) + " bytes at offset " + std::to_string(offset) +
                                    ": packed rows of " + std::to_string(row_) + " bytes are read and written whole");
    }

    template <class Look>
    bool arrived(std::uint64_t ticket, Look look) {
        const auto found = batches_.find(ticket);
        if (found == batches_.end()) return true;
        try {
            if (!look(found->second.ticket)) return false;
        } catch (...) {
            batches_.erase(found);
            throw;
        }
        for (const TierRead& read : found->second.reads) unpack(read);
        spare_.push_back(std::move(found->second.reads));
        batches_.erase(found);
        return true;
    }

    // A row's place reaches into its own packed bytes where it is among the last, never into those behind.
    void unpack(const TierRead& read) {
        const std::size_t rows = read.length / row_;
        const std::byte* packed = read.into + rows * (row_ - stride_);
        for (std::size_t i = 0; i < rows; ++i) {
            std::memcpy(one_.data(), packed + i * stride_, stride_);
            std::byte* row = read.into + i * row_;
            if (packing_.spilled(one_.data())) {
                spilled_->copy(read.offset / row_ + i, row, row_);
            } else {
                packing_.unpack(one_.data(), row);
            }
        }
    }

    std::shared_ptr<Tier> inner_;
    PackedFloats packing_;
    std::shared_ptr<SpilledRows> spilled_;
    std::size_t row_, stride_;
    std::vector<std::uint8_t> one_, written_;
    std::vector<TierRead> packed_;
    std::unordered_map<std::uint64_t, Batch> batches_;
    std::vector<std::vector<TierRead>> spare_;
    std::uint64_t last_ = 0;
};

}  // namespace

std::unique_ptr<Tier> make_packed_tier(std::shared_ptr<Tier> inner, std::size_t dim, std::shared_ptr<SpilledRows> spilled) {
    const PackedFloats packing(dim);
    if (!packing.saves()) {
        throw std::invalid_argument(inner->url() + ": rows of " + std::to_string(dim) + " floats take no less packed");
    }
    return std::make_unique<PackedTier>(std::move(inner), packing, std::move(spilled));
}

}  // namespace fairlead

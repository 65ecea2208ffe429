#include <algorithm>
#include <cerrno>
#include <unordered_map>

#include "fairlead/cluster_reader.hpp"

namespace fairlead {
namespace {

// A medium with bad blocks: a read that touches one fails, whatever else it would have brought.
class BrokenEngine final : public ReadEngine {
public:
    BrokenEngine(std::unique_ptr<ReadEngine> inner, std::vector<FileRange> broken)
        : inner_(std::move(inner)), broken_(std::move(broken)) {}

    const char* name() const override { return inner_->name(); }
    void prepare(std::uint8_t* memory, std::size_t bytes) override { inner_->prepare(memory, bytes); }

    void submit(int file, const BlockRead* reads, std::size_t count) override {
        for (std::size_t i = 0; i < count; ++i) bad_[reads[i].tag] = touches(reads[i]);
        inner_->submit(file, reads, count);
    }

    void collect(std::size_t least, std::vector<ReadDone>& done) override {
        const std::size_t before = done.size();
        inner_->collect(least, done);
        for (std::size_t i = before; i < done.size(); ++i) {
            if (bad_[done[i].tag]) done[i].result = -EIO;
        }
    }

    void await(double seconds) override { inner_->await(seconds); }

private:
    bool touches(const BlockRead& read) const {
        return std::any_of(broken_.begin(), broken_.end(), [&](const FileRange& range) {
            return read.offset < range.end && range.begin < read.offset + read.bytes;
        });
    }

    std::unique_ptr<ReadEngine> inner_;
    std::vector<FileRange> broken_;
    std::unordered_map<std::uint32_t, bool> bad_;  // by tag
};

}  // namespace

std::unique_ptr<ReadEngine> make_broken_engine(std::unique_ptr<ReadEngine> inner, std::vector<FileRange> broken) {
    return std::make_unique<BrokenEngine>(std::move(inner), std::move(broken));
}

}  // namespace fairlead

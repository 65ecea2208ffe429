#pragma once

#include <cstdint>
#include <deque>

namespace fairlead {

// Which batches are still out: tickets are numbered from 1, each with what is missing and until when it may take.
class PendingTickets {
public:
    std::uint64_t open(std::uint32_t parts, double deadline) {
        batches_.push_back({parts, deadline});
        return first_ + batches_.size() - 1;
    }

    void arrived(std::uint64_t ticket, std::uint32_t parts = 1) {
        batches_[ticket - first_].missing -= parts;
        while (!batches_.empty() && batches_.front().missing == 0) {
            batches_.pop_front();
            ++first_;
        }
    }

    bool done(std::uint64_t ticket) const {
        return ticket < first_ || ticket - first_ >= batches_.size() || batches_[ticket - first_].missing == 0;
    }

    double deadline(std::uint64_t ticket) const { return done(ticket) ? 0.0 : batches_[ticket - first_].deadline; }
    bool empty() const { return batches_.empty(); }

private:
    struct Batch {
        std::uint32_t missing;
        double deadline;
    };

    std::uint64_t first_ = 1;
    std::deque<Batch> batches_;
};

}  // namespace fairlead

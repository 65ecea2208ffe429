#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

namespace fairlead::vectors {

// Which rows of a region are taken: a heap of runs.
class RowSpace {
public:
    struct Run {
        std::uint32_t first;
        std::uint32_t count;
    };

    // Up to `count` rows one behind the other, none below `least` unless the region's end leaves no other choice; count 0:
    // there are no rows below the limit.
    Run take(std::uint32_t count, std::uint32_t least, std::uint32_t limit) {
        for (auto run = free_.begin(); run != free_.end(); ++run) {
            if (run->second >= std::min(least, count)) return cut(run, count);
        }
        if (end_ < limit) {
            const Run fresh{end_, std::min(count, limit - end_)};
            end_ += fresh.count;
            return fresh;
        }
        return free_.empty() ? Run{0, 0} : cut(free_.begin(), count);
    }

    void give(std::uint32_t first, std::uint32_t count) {
        if (count == 0) return;
        auto next = free_.lower_bound(first);
        if (next != free_.begin()) {
            const auto before = std::prev(next);
            if (before->first + before->second == first) {
                first = before->first;
                count += before->second;
                free_.erase(before);
            }
        }
        if (next != free_.end() && first + count == next->first) {
            count += next->second;
            free_.erase(next);
        }
        if (first + count == end_) end_ = first;
        else free_[first] = count;
    }

    // Rows below here have been taken; of those `free_rows` are free again.
    std::uint32_t end() const { return end_; }
    std::uint64_t free_rows() const {
        std::uint64_t sum = 0;
        for (const auto& [first, count] : free_) sum += count;
        return sum;
    }

    // Takes all rows of an index that was saved: whatever lies between them is free.
    void adopt(std::vector<Run> taken) {
        std::sort(taken.begin(), taken.end(), [](const Run& a, const Run& b) { return a.first < b.first; });
        free_.clear();
        end_ = 0;
        for (const Run& run : taken) {
            if (run.first < end_) throw std::invalid_argument("rows: two blocks share a row");
            if (run.first > end_) free_[end_] = run.first - end_;
            end_ = run.first + run.count;
        }
    }

private:
    Run cut(std::map<std::uint32_t, std::uint32_t>::iterator run, std::uint32_t count) {
        const Run taken{run->first, std::min(count, run->second)};
        const Run rest{taken.first + taken.count, run->second - taken.count};
        free_.erase(run);
        if (rest.count > 0) free_[rest.first] = rest.count;
        return taken;
    }

    std::map<std::uint32_t, std::uint32_t> free_;
    std::uint32_t end_ = 0;
};

}  // namespace fairlead::vectors

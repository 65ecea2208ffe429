#pragma once

#include <cstddef>

namespace fairlead {

// Whether a layer's neurons are asked for before its attention, by what that has brought so far. A guess costs a
// pass over the predictor's rows of what is not cached, and a read in vain for each neuron that is then not needed.
// Counts decide, not times, so that the same text is read in the same way.
class LookAhead {
public:
    // Guesses after which it is judged, and tokens that then pass without one where it did not pay.
    static constexpr std::size_t kTrial = 8, kRest = 64;
    // Rows of a predictor that cost about as much as a read.
    static constexpr std::size_t kRowsPerRead = 512;

    // Whether to guess at this token; to be called once a token.
    bool due() {
        if (guesses_ == kTrial) judge();
        if (resting_ > 0) --resting_;
        return resting_ == 0;
    }

    // A guess that scored so many rows and started so many reads.
    void guessed(std::size_t rows, std::size_t asked) {
        rows_ += rows;
        asked_ += asked;
        ++guesses_;
    }

    // A neuron was needed that a guess had asked for.
    void confirmed() { ++confirmed_; }

private:
    void judge() {
        if (2 * confirmed_ < asked_ || confirmed_ <= rows_ / kRowsPerRead) resting_ = kRest + 1;
        guesses_ = rows_ = asked_ = confirmed_ = 0;
    }

    std::size_t resting_ = 0, guesses_ = 0, rows_ = 0, asked_ = 0, confirmed_ = 0;
};

}  // namespace fairlead

#pragma once

namespace fairlead::radio {

// The optimum; the nearest to an infeasible demand; the best when iterations ran out; numbers that are not accepted.
enum Status : int { kSolved = 0, kInfeasible = 1, kStopped = 2, kRefused = 3 };

}  // namespace fairlead::radio

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// Names of the ISAs that this build holds and this processor runs, best first; "plain" is always the last.
std::vector<std::string> available_isas();

// Makes one ISA's kernels the active ones; throws std::invalid_argument for a name that is not available.
void select_isa(std::string_view name);

// The active kernels; the best available ones until select_isa says otherwise.
const KernelTable& kernels_in_use();

}  // namespace fairlead

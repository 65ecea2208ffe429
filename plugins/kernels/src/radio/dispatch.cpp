#include "fairlead/dispatch.hpp"

#include <string_view>

#include "fairlead/radio/level_kernels.hpp"

namespace fairlead::radio {

const LevelKernels& level_kernels() {
#if defined(__x86_64__)
    const std::string_view isa = kernels_in_use().isa;
    if (isa == "avx512vnni" || isa == "avx512") return avx512_levels();
    if (isa == "avx2") return avx2_levels();
#endif
    return plain_levels();
}

}  // namespace fairlead::radio

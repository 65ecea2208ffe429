#include <string_view>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/kernels.hpp"
#include "fairlead/vectors/list_kernels.hpp"

namespace fairlead::vectors {

const VectorKernels& vector_kernels() {
    const std::string_view isa = kernels_in_use().isa;
#if defined(__x86_64__)
    if (isa == "avx512vnni") return avx512vnni_vectors();
    if (isa == "avx512") return avx512_vectors();
    if (isa == "avx2") return avx2_vectors();
#elif defined(__aarch64__)
    if (isa == "neon_dotprod") return neon_dotprod_vectors();
    if (isa == "neon") return neon_vectors();
#endif
    return plain_vectors();
}

const ListKernels& list_kernels() {
    const std::string_view isa = kernels_in_use().isa;
#if defined(__x86_64__)
    if (isa == "avx512vnni") return avx512vnni_lists();
    if (isa == "avx512") return avx512_lists();
    if (isa == "avx2") return avx2_lists();
#elif defined(__aarch64__)
    if (isa != "plain") return neon_lists();
#endif
    return plain_lists();
}

}  // namespace fairlead::vectors

#pragma once

// Everything that the ISA-specific translation units share must be forced inline: an out-of-line copy
// that the linker picks from the AVX-512 unit would run on a machine without AVX-512.
#define FAIRLEAD_INLINE inline __attribute__((always_inline))

// For loops over registers: a loop that is not unrolled keeps its accumulators in memory.
#define FAIRLEAD_UNROLL _Pragma("GCC unroll 32")

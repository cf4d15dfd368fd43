// The processor's bfloat16 instructions, which Swift has no names for: AVX-512 BF16, of Zen 4, Cooper Lake and later.
//
// A word is 32 bits: two bfloat16, the one with the smaller index in the lower half. Conversions round to nearest even;
// a NaN stays NaN, and numbers below float32's normal range become 0.

#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>

typedef float CBFloat16Vector __attribute__((__ext_vector_type__(16)));

#define CBFLOAT16 static inline __attribute__((__always_inline__)) CBFloat16Vector

/// sum[i] + a[2i] · b[2i] + a[2i + 1] · b[2i + 1], for 16 sums and 32 bfloat16 of each operand.
CBFLOAT16 bfloat16_add_products(CBFloat16Vector sum, CBFloat16Vector a, CBFloat16Vector b) {
    return (CBFloat16Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/// The words of 32 consecutive floats, of which `first` are the first 16.
CBFLOAT16 bfloat16_consecutive(CBFloat16Vector first, CBFloat16Vector second) {
    return (CBFloat16Vector)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/// Words that pair each float of `low` with the one in the same place of `high`.
CBFLOAT16 bfloat16_interleaved(CBFloat16Vector low, CBFloat16Vector high) {
    const __m512i places = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0);
    return (CBFloat16Vector)_mm512_permutexvar_epi16(places, (__m512i)bfloat16_consecutive(low, high));
}

#undef CBFLOAT16
#endif

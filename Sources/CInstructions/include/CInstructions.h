// The processor's instructions for bfloat16 and for bytes, which Swift has no names for: AVX-512 BF16, of Zen 4, Cooper Lake
// and later, and AVX-512 VNNI.
//
// A word is 32 bits: two bfloat16, the one with the smaller index in the lower half. Conversions round to nearest even;
// a NaN stays NaN, and numbers below float32's normal range become 0.

#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>

typedef float CVector __attribute__((__ext_vector_type__(16)));

#define CVECTOR static inline __attribute__((__always_inline__)) CVector

/// sum[i] + a[2i] · b[2i] + a[2i + 1] · b[2i + 1], for 16 sums and 32 bfloat16 of each operand.
CVECTOR bfloat16_add_products(CVector sum, CVector a, CVector b) {
    return (CVector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/// The words of 32 consecutive floats, of which `first` are the first 16.
CVECTOR bfloat16_consecutive(CVector first, CVector second) {
    return (CVector)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/// Words that pair each float of `low` with the one in the same place of `high`.
CVECTOR bfloat16_interleaved(CVector low, CVector high) {
    const __m512i places = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0);
    return (CVector)_mm512_permutexvar_epi16(places, (__m512i)bfloat16_consecutive(low, high));
}

#undef CVECTOR
#endif

#ifdef __AVX512VNNI__
#include <immintrin.h>

typedef int CInt32Vector __attribute__((__ext_vector_type__(16)));

/// sum[i] + Σ_j a[4i + j] · b[4i + j] for j < 4, for 16 sums and 64 bytes of each operand: those of a unsigned, of b signed.
static inline __attribute__((__always_inline__)) CInt32Vector int8_add_products(CInt32Vector sum, CInt32Vector a, CInt32Vector b) {
    return (CInt32Vector)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}
#endif

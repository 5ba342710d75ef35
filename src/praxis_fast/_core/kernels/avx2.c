/* AVX2: one comparison per mask. */
#include "scan.h"

#ifdef SCAN_HAS_AVX

#include <immintrin.h>

#define KERNEL __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt,pclmul")))

#include "lane_pass.h"

static inline KERNEL uint64_t equal(__m256i low, __m256i high, char byte)
{
    __m256i wanted = _mm256_set1_epi8(byte);
    uint32_t a = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted));
    uint32_t b = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted));
    return (uint64_t)b << 32 | a;
}

static inline KERNEL void classify(const uint8_t *p, struct masks *m)
{
    /* '[' and '{', as well as ']' and '}', differ in this bit only. */
    const __m256i shift = _mm256_set1_epi8(0x20);
    __m256i low = _mm256_loadu_si256((const __m256i *)p);
    __m256i high = _mm256_loadu_si256((const __m256i *)(p + 32));
    m->quote = equal(low, high, '"');
    m->backslash = equal(low, high, '\\');
    low = _mm256_or_si256(low, shift);
    high = _mm256_or_si256(high, shift);
    m->open = equal(low, high, '{');
    m->close = equal(low, high, '}');
}

static inline KERNEL __m256i quote_or_backslash(const uint8_t *p)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)p);
    return _mm256_or_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('"')),
                           _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\\')));
}

static inline KERNEL int is_plain(const uint8_t *p)
{
    __m256i any = quote_or_backslash(p);
    for (int i = 32; i < PLAIN; i += 32)
        any = _mm256_or_si256(any, quote_or_backslash(p + i));
    return _mm256_testz_si256(any, any);
}

/* A carry-less product with all ones adds up, without carries, all bits below. */
static inline KERNEL uint64_t prefix_xor(uint64_t bits)
{
    __m128i factor = _mm_cvtsi64_si128((long long)bits);
    __m128i product = _mm_clmulepi64_si128(factor, _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

int32_t KERNEL scan_avx2(struct scanner *s, const uint8_t *data, int32_t size,
                         struct span *spans)
{
    return scan_lanes(s, data, size, spans);
}

#endif

/* AVX-512 with VBMI and GFNI: one table look-up names each byte's class, one bit matrix
   product turns the classes of 128 bytes into eight masks. */
#if defined(__x86_64__)

#include <immintrin.h>

#define KERNEL                                                                         \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,gfni,avx2,bmi,bmi2,"   \
                          "lzcnt,popcnt,pclmul")))

#include "lanes.h"

/* Bits of a class; the second lane of a pair has them four places higher. */
enum { QUOTE = 1, BACKSLASH = 2, OPEN = 4, CLOSE = 8 };

#define CLASSES(shift)                                                                 \
    {['"'] = QUOTE << (shift), ['\\'] = BACKSLASH << (shift),                          \
     ['['] = OPEN << (shift),  ['{'] = OPEN << (shift),                                \
     [']'] = CLOSE << (shift), ['}'] = CLOSE << (shift)}

static const uint8_t FIRST[128] = CLASSES(0), SECOND[128] = CLASSES(4);

static inline KERNEL __m512i classes(const uint8_t *p, const uint8_t *table)
{
    __m512i bytes = _mm512_loadu_si512(p);
    __mmask64 ascii = _mm512_testn_epi8_mask(bytes, _mm512_set1_epi8(-128));
    return _mm512_maskz_permutex2var_epi8(ascii, _mm512_loadu_si512(table), bytes,
                                          _mm512_loadu_si512(table + 64));
}

static inline KERNEL void classify(const uint8_t *p, struct lane *pair)
{
    /* In each group of eight bytes: last first, as the product below wants it. */
    const __m512i reverse = _mm512_set4_epi32(0x08090a0b, 0x0c0d0e0f, 0x00010203,
                                              0x04050607);
    /* Byte i of the product gathers bit i of the eight bytes. */
    const __m512i select = _mm512_set1_epi64((long long)0x8040201008040201);
    __m512i both = _mm512_or_si512(classes(p, FIRST), classes(p + LANE, SECOND));
    /* All groups' bytes 0 first, then all bytes 1, ...: order[8 * i + j] = 8 * j + i. */
    const __m512i order = _mm512_set_epi64(
        0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05, 0x3c342c241c140c04,
        0x3b332b231b130b03, 0x3a322a221a120a02, 0x3931292119110901, 0x3830282018100800);
    __m512i bits = _mm512_gf2p8affine_epi64_epi8(
        select, _mm512_shuffle_epi8(both, reverse), 0);
    _mm512_storeu_si512(pair, _mm512_permutexvar_epi8(order, bits));
}

static inline KERNEL int is_plain(const uint8_t *p)
{
    const __m512i quote = _mm512_set1_epi8('"'), backslash = _mm512_set1_epi8('\\');
    __mmask64 any = 0;
    for (int i = 0; i < 4 * LANE; i += LANE) {
        __m512i bytes = _mm512_loadu_si512(p + i);
        any |= _mm512_cmpeq_epi8_mask(bytes, quote);
        any |= _mm512_cmpeq_epi8_mask(bytes, backslash);
    }
    return !any;
}

/* A carry-less product with all ones adds up, without carries, all bits below. */
static inline KERNEL uint64_t prefix_xor(uint64_t bits)
{
    __m128i factor = _mm_cvtsi64_si128((long long)bits);
    __m128i product = _mm_clmulepi64_si128(factor, _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

int32_t KERNEL scan_avx512(struct scanner *s, const uint8_t *data, int32_t size,
                           struct span *spans)
{
    return scan_lanes(s, data, size, spans);
}

#else

/* An empty file is not C. */
typedef int no_avx512;

#endif

/* AVX-512 with VBMI and GFNI: one table look-up names each byte's class, one bit matrix
   product turns the classes of 128 bytes into eight masks, and the masks of eight lanes
   are worked on at once. */
#include "scan.h"

#ifdef SCAN_HAS_AVX

#include <immintrin.h>
#include <string.h>

#define KERNEL                                                                         \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vbmi,"    \
                          "avx512vpopcntdq,gfni,vpclmulqdq,avx2,bmi,bmi2,lzcnt,"       \
                          "popcnt,pclmul")))

#include "lanes.h"

/* Lanes in a group, the 64-bit numbers in a vector. */
#define GROUP 8

/* Bits of a class; the second lane of a pair has them four places higher. */
enum { QUOTE = 1, BACKSLASH = 2, OPEN = 4, CLOSE = 8 };

#define CLASSES(shift)                                                                 \
    {['"'] = QUOTE << (shift), ['\\'] = BACKSLASH << (shift),                          \
     ['['] = OPEN << (shift),  ['{'] = OPEN << (shift),                                \
     [']'] = CLOSE << (shift), ['}'] = CLOSE << (shift)}

static const uint8_t FIRST[128] = CLASSES(0), SECOND[128] = CLASSES(4);

/* What the first half of the pass keeps for the second. */
struct masks {
    uint64_t open[LANES];
    uint64_t close[LANES];
    uint64_t backslash[LANES];
    uint64_t escaped[LANES];
    uint64_t in_string[LANES]; /* as if none was open at the start of the lane */
    /* One bit per lane, one byte per group. */
    uint8_t odd_quotes[LANES / GROUP];
    uint8_t reaches_zero[LANES / GROUP];
    uint8_t may_overflow[LANES / GROUP];
};

/* Carried from group to group by the second half. */
struct carry {
    __m512i depth; /* before the group, in each number */
    __m512i bad_backslash;
};

static inline KERNEL __m512i load(const uint64_t *p)
{
    return _mm512_loadu_si512(p);
}

/* Classes of up to 64 bytes; no byte from `left` on is touched. */
static inline KERNEL __m512i classes(const uint8_t *p, int32_t left,
                                     const uint8_t *table)
{
    const uint64_t all = ~(uint64_t)0;
    uint64_t present = left >= LANE ? all : left > 0 ? all >> (LANE - left) : 0;
    __m512i bytes = _mm512_maskz_loadu_epi8(present, p);
    /* The look-up takes seven bits: what is not ASCII becomes 0x7f, of no class. */
    bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(0x7f));
    return _mm512_permutex2var_epi8(_mm512_loadu_si512(table), bytes,
                                    _mm512_loadu_si512(table + 64));
}

/* Quote, backslash, open, close of one lane, then of the next. */
static inline KERNEL __m512i pair_masks(const uint8_t *p, int32_t left)
{
    /* In each eight bytes last first, as the product wants them. */
    const __m512i reverse =
        _mm512_set4_epi32(0x08090a0b, 0x0c0d0e0f, 0x00010203, 0x04050607);
    /* Byte i of each product gathers bit i of its eight bytes. */
    const __m512i select = _mm512_set1_epi64((long long)0x8040201008040201);
    /* All products' bytes 0 first, then all bytes 1, and so on. */
    const __m512i order = _mm512_set_epi64(
        0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05, 0x3c342c241c140c04,
        0x3b332b231b130b03, 0x3a322a221a120a02, 0x3931292119110901, 0x3830282018100800);
    __m512i both = _mm512_or_si512(classes(p, left, FIRST),
                                   classes(p + LANE, left - LANE, SECOND));
    __m512i bits = _mm512_gf2p8affine_epi64_epi8(
        select, _mm512_shuffle_epi8(both, reverse), 0);
    return _mm512_permutexvar_epi8(order, bits);
}

struct group {
    __m512i quote;
    __m512i backslash;
    __m512i open;
    __m512i close;
};

/* The masks of eight lanes, sorted by kind. */
static inline KERNEL struct group group_masks(const uint8_t *p, int32_t left)
{
    const __m512i quotes = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i brackets = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
    __m512i a = pair_masks(p, left), b = pair_masks(p + 2 * LANE, left - 2 * LANE);
    __m512i c = pair_masks(p + 4 * LANE, left - 4 * LANE);
    __m512i d = pair_masks(p + 6 * LANE, left - 6 * LANE);
    __m512i quotes_ab = _mm512_permutex2var_epi64(a, quotes, b);
    __m512i quotes_cd = _mm512_permutex2var_epi64(c, quotes, d);
    __m512i brackets_ab = _mm512_permutex2var_epi64(a, brackets, b);
    __m512i brackets_cd = _mm512_permutex2var_epi64(c, brackets, d);
    return (struct group){_mm512_shuffle_i64x2(quotes_ab, quotes_cd, 0x44),
                          _mm512_shuffle_i64x2(quotes_ab, quotes_cd, 0xee),
                          _mm512_shuffle_i64x2(brackets_ab, brackets_cd, 0x44),
                          _mm512_shuffle_i64x2(brackets_ab, brackets_cd, 0xee)};
}

/* For each lane, one if the byte after it is escaped: by the length of its last run of
   backslashes. A run that fills a lane is even and hands on what it got. */
static inline KERNEL __m512i next_escapes(__m512i backslash, __m512i before)
{
    const __m512i ones = _mm512_set1_epi64(-1);
    __m512i run = _mm512_lzcnt_epi64(_mm512_xor_si512(backslash, ones));
    __m512i odd = _mm512_and_si512(run, _mm512_set1_epi64(1));
    __mmask8 full = _mm512_cmpeq_epi64_mask(backslash, ones);
    for (; full; full &= (__mmask8)(full - 1)) { /* hardly ever */
        __mmask8 lane = full & (__mmask8)-full;
        odd = _mm512_mask_alignr_epi64(odd, lane, odd, before, 7);
    }
    return odd;
}

/* Bits whose byte follows a backslash that is not itself escaped. */
static inline KERNEL __m512i find_escaped(__m512i backslash, __m512i carry)
{
    const __m512i odd = _mm512_set1_epi64((long long)0xAAAAAAAAAAAAAAAAu);
    __m512i first = _mm512_andnot_si512(carry, backslash);
    /* Subtracting carries through each run, so that its parity shows behind its end. */
    __m512i next = _mm512_or_si512(_mm512_slli_epi64(first, 1), odd);
    __m512i code = _mm512_xor_si512(_mm512_sub_epi64(next, first), odd);
    return _mm512_xor_si512(code, _mm512_or_si512(backslash, carry));
}

/* Bit i of each result is the parity of bits 0 to i. */
static inline KERNEL __m512i prefix_xors(__m512i bits)
{
    const __m512i ones = _mm512_set1_epi64(-1);
    __m512i even = _mm512_clmulepi64_epi128(bits, ones, 0x00);
    __m512i odd = _mm512_clmulepi64_epi128(bits, ones, 0x01);
    return _mm512_unpacklo_epi64(even, odd);
}

static inline KERNEL uint64_t prefix_xor(uint64_t bits)
{
    __m128i factor = _mm_cvtsi64_si128((long long)bits);
    __m128i product = _mm_clmulepi64_si128(factor, _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Notes what stands in strings that open in the lanes of a group. `escapes` are those
   behind the lanes of the group before; returns those behind these. */
static inline KERNEL __m512i find_strings(struct masks *m, int32_t lane,
                                          const uint8_t *p, int32_t left,
                                          __m512i escapes)
{
    struct group g = group_masks(p, left);
    __m512i next = next_escapes(g.backslash, escapes);
    __m512i escaped =
        find_escaped(g.backslash, _mm512_alignr_epi64(next, escapes, GROUP - 1));
    __m512i in_string = prefix_xors(_mm512_andnot_si512(escaped, g.quote));
    m->odd_quotes[lane / GROUP] = (uint8_t)_mm512_movepi64_mask(in_string);
    _mm512_storeu_si512(&m->open[lane], g.open);
    _mm512_storeu_si512(&m->close[lane], g.close);
    _mm512_storeu_si512(&m->backslash[lane], g.backslash);
    _mm512_storeu_si512(&m->escaped[lane], escaped);
    _mm512_storeu_si512(&m->in_string[lane], in_string);
    return next;
}

/* Sums of the numbers up to and with each. */
static inline KERNEL __m512i running_sums(__m512i numbers)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums = _mm512_add_epi64(numbers, _mm512_alignr_epi64(numbers, zero, 7));
    sums = _mm512_add_epi64(sums, _mm512_alignr_epi64(sums, zero, 6));
    return _mm512_add_epi64(sums, _mm512_alignr_epi64(sums, zero, 4));
}

/* See outer_closers in lanes.h. */
static inline KERNEL __m512i outer_closers_of(__m512i open, __m512i close)
{
    __m512i others = _mm512_ternarylogic_epi64(open, close, close, 0x01); /* neither */
    __m512i sum = _mm512_add_epi64(_mm512_slli_epi64(open, 1), others);
    return _mm512_andnot_si512(sum, close);
}

/* Takes a group's brackets out of strings and notes the depths. */
static inline KERNEL void find_depths(struct batch *b, struct masks *m, int32_t lane,
                                      __mmask8 strings, __m512i max_depth,
                                      struct carry *c)
{
    const __m512i ones = _mm512_set1_epi64(-1);
    __m512i alone = load(&m->in_string[lane]);
    __m512i in_string = _mm512_mask_xor_epi64(alone, strings, alone, ones);
    __m512i open = _mm512_andnot_si512(in_string, load(&m->open[lane]));
    __m512i close = _mm512_andnot_si512(in_string, load(&m->close[lane]));
    __m512i bad = _mm512_andnot_si512(in_string, load(&m->backslash[lane]));
    __m512i opened = _mm512_popcnt_epi64(open);
    __m512i outer = _mm512_popcnt_epi64(outer_closers_of(open, close));
    __m512i change = _mm512_sub_epi64(opened, _mm512_popcnt_epi64(close));
    __m512i after = _mm512_add_epi64(c->depth, running_sums(change));
    __m512i before = _mm512_sub_epi64(after, change);
    __m512i peak = _mm512_add_epi64(before, opened); /* or less */
    m->reaches_zero[lane / GROUP] = (uint8_t)_mm512_cmple_epi64_mask(before, outer);
    m->may_overflow[lane / GROUP] = (uint8_t)_mm512_cmpgt_epi64_mask(peak, max_depth);
    _mm512_storeu_si512(&b->open[lane], open);
    _mm512_storeu_si512(&b->close[lane], close);
    _mm256_storeu_si256((__m256i *)&b->depth[lane], _mm512_cvtepi64_epi32(before));
    c->depth = _mm512_permutexvar_epi64(_mm512_set1_epi64(GROUP - 1), after);
    c->bad_backslash = _mm512_or_si512(c->bad_backslash, bad);
}

/* The bits of all groups; those before `first` were not read. */
static inline KERNEL uint64_t join(const uint8_t *groups, int32_t first)
{
    uint64_t bits;
    memcpy(&bits, groups, sizeof bits);
    return bits & ~(uint64_t)0 << first;
}

/* The first half of the pass; returns the lanes that start inside a string. */
static inline KERNEL uint64_t find_all_strings(struct masks *m, const struct scanner *s,
                                               const uint8_t *data, int32_t first,
                                               int32_t size)
{
    __m512i escapes = _mm512_set1_epi64(s->state == SCAN_ESCAPE);
    int32_t pos = first * LANE;
    memset(m->odd_quotes, 0, sizeof m->odd_quotes);
    for (; pos + GROUP * LANE <= size; pos += GROUP * LANE)
        escapes = find_strings(m, pos / LANE, data + pos, GROUP * LANE, escapes);
    if (pos < size)
        find_strings(m, pos / LANE, data + pos, size - pos, escapes);
    return -(uint64_t)(s->state >= SCAN_STRING) ^
           prefix_xor(join(m->odd_quotes, first)) << 1;
}

static KERNEL void read_lanes(struct batch *b, const struct scanner *s,
                              const uint8_t *data, int32_t first, int32_t size)
{
    struct masks m;
    uint64_t strings = find_all_strings(&m, s, data, first, size);
    struct carry c = {_mm512_set1_epi64(s->depth), _mm512_setzero_si512()};
    const __m512i max_depth = _mm512_set1_epi64(s->max_depth);
    int32_t last = (size - 1) / LANE, end = (size - 1) % LANE;
    uint64_t present = ~(uint64_t)0 >> (LANES - 1 - last);
    for (int32_t lane = first; lane <= last; lane += GROUP)
        find_depths(b, &m, lane, (__mmask8)(strings >> lane), max_depth, &c);
    b->reaches_zero = join(m.reaches_zero, first) & present;
    b->may_overflow = join(m.may_overflow, first) & present;
    b->bad_backslash = _mm512_test_epi64_mask(c.bad_backslash, c.bad_backslash);
    b->last_depth = _mm_cvtsi128_si32(_mm512_castsi512_si128(c.depth));
    b->in_string = (m.in_string[last] >> end ^ strings >> last) & 1;
    b->in_escape = (m.backslash[last] & ~m.escaped[last]) >> end & 1;
}

static inline KERNEL int is_plain(const uint8_t *p)
{
    const __m512i quote = _mm512_set1_epi8('"'), backslash = _mm512_set1_epi8('\\');
    __mmask64 any = 0;
    for (int i = 0; i < PLAIN; i += LANE) {
        __m512i bytes = _mm512_loadu_si512(p + i);
        any |= _mm512_cmpeq_epi8_mask(bytes, quote);
        any |= _mm512_cmpeq_epi8_mask(bytes, backslash);
    }
    return !any;
}

int32_t KERNEL scan_avx512(struct scanner *s, const uint8_t *data, int32_t size,
                           struct span *spans)
{
    return scan_lanes(s, data, size, spans);
}

#endif

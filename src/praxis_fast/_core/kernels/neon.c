/* NEON: one comparison per mask, and sums of single bits to pack them. */
#include "scan.h"

#ifdef SCAN_HAS_NEON

#include <arm_neon.h>

/* Part of every 64-bit Arm processor: no attribute needed. */
#define KERNEL

#include "lane_pass.h"

static inline uint64_t pack(const uint8x16_t m[4])
{
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t low = vpaddq_u8(vandq_u8(m[0], bit), vandq_u8(m[1], bit));
    uint8x16_t high = vpaddq_u8(vandq_u8(m[2], bit), vandq_u8(m[3], bit));
    uint8x16_t sums = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static inline uint64_t equal(const uint8x16_t bytes[4], uint8_t byte)
{
    uint8x16_t wanted = vdupq_n_u8(byte), m[4];
    for (int i = 0; i < 4; i++)
        m[i] = vceqq_u8(bytes[i], wanted);
    return pack(m);
}

static inline void classify(const uint8_t *p, struct masks *m)
{
    uint8x16_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = vld1q_u8(p + 16 * i);
    m->quote = equal(bytes, '"');
    m->backslash = equal(bytes, '\\');
    /* '[' and '{', as well as ']' and '}', differ in this bit only. */
    for (int i = 0; i < 4; i++)
        bytes[i] = vorrq_u8(bytes[i], vdupq_n_u8(0x20));
    m->open = equal(bytes, '{');
    m->close = equal(bytes, '}');
}

static inline int is_plain(const uint8_t *p)
{
    uint8x16_t any = vdupq_n_u8(0);
    for (int i = 0; i < PLAIN; i += 16) {
        uint8x16_t bytes = vld1q_u8(p + i);
        any = vorrq_u8(any, vceqq_u8(bytes, vdupq_n_u8('"')));
        any = vorrq_u8(any, vceqq_u8(bytes, vdupq_n_u8('\\')));
    }
    return !vmaxvq_u8(any);
}

static inline uint64_t prefix_xor(uint64_t bits)
{
    for (int shift = 1; shift < LANE; shift *= 2)
        bits ^= bits << shift;
    return bits;
}

int32_t scan_neon(struct scanner *s, const uint8_t *data, int32_t size,
                  struct span *spans)
{
    return scan_lanes(s, data, size, spans);
}

#endif

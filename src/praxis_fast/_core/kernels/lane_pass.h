/* The first pass lane by lane, for kernels that only find the four masks themselves:
   `classify` and `prefix_xor` are theirs. */
#ifndef PRAXIS_FAST_LANE_PASS_H
#define PRAXIS_FAST_LANE_PASS_H

#include <string.h>

#include "lanes.h"

struct masks {
    uint64_t quote;
    uint64_t backslash;
    uint64_t open;
    uint64_t close;
};

/* Finds the masks of p[0:LANE]. */
static void KERNEL classify(const uint8_t *p, struct masks *);

/* Bit i of the result is the parity of bits 0 to i. */
static uint64_t KERNEL prefix_xor(uint64_t bits);

/* Carried from lane to lane. */
struct carry {
    uint64_t in_string; /* all ones or none */
    uint64_t in_escape; /* one or none */
    uint64_t bad_backslash;
};

/* Bits whose byte follows a backslash that is not itself escaped. */
static inline KERNEL uint64_t find_escaped(uint64_t backslash, uint64_t carry)
{
    const uint64_t odd = 0xAAAAAAAAAAAAAAAAu;
    uint64_t first = backslash & ~carry;
    /* Subtracting carries through each run, so that its parity shows behind its end. */
    uint64_t code = (((first << 1) | odd) - first) ^ odd;
    return code ^ (backslash | carry);
}

/* Whether the byte after the lane is escaped: by the length of the last run, which is
   even, and so hands on what it got, when it fills the lane. */
static inline KERNEL uint64_t next_escape(uint64_t backslash, uint64_t carry)
{
    return backslash == ~(uint64_t)0 ? carry
                                     : (uint64_t)__builtin_clzll(~backslash) & 1;
}

/* Finds the brackets of one lane, `size` bytes of which are data. */
static inline KERNEL void find_brackets(struct batch *b, int32_t lane, const uint8_t *p,
                                        int32_t size, struct carry *c)
{
    struct masks m;
    uint64_t escaped, in_string;
    classify(p, &m);
    escaped = find_escaped(m.backslash, c->in_escape);
    in_string = prefix_xor(m.quote & ~escaped) ^ c->in_string;
    b->open[lane] = m.open & ~in_string;
    b->close[lane] = m.close & ~in_string;
    c->bad_backslash |= m.backslash & ~in_string;
    c->in_escape = size < LANE ? escaped >> size & 1
                               : next_escape(m.backslash, c->in_escape);
    c->in_string = -(in_string >> (size - 1) & 1);
}

static KERNEL void find_all_brackets(struct batch *b, const struct scanner *s,
                                     const uint8_t *data, int32_t first, int32_t size)
{
    struct carry c = {-(uint64_t)(s->state >= SCAN_STRING), s->state == SCAN_ESCAPE, 0};
    int32_t lane = first;
    for (; (lane + 1) * LANE <= size; lane++)
        find_brackets(b, lane, data + lane * LANE, LANE, &c);
    if (lane * LANE < size) {
        uint8_t tail[LANE];
        memset(tail, ' ', LANE);
        memcpy(tail, data + lane * LANE, (size_t)(size - lane * LANE));
        find_brackets(b, lane, tail, size - lane * LANE, &c);
    }
    b->bad_backslash = c.bad_backslash;
    b->in_string = c.in_string;
    b->in_escape = c.in_escape;
}

static KERNEL void find_depths(struct batch *b, const struct scanner *s, int32_t first,
                               int32_t lanes)
{
    int32_t depth = s->depth;
    uint64_t reaches_zero = 0, may_overflow = 0;
    for (int32_t lane = first; lane < lanes; lane++) {
        uint64_t open = b->open[lane], close = b->close[lane];
        int32_t opened = count(open), outer = count(outer_closers(open, close));
        reaches_zero |= (uint64_t)(depth <= outer) << lane;
        may_overflow |= (uint64_t)(depth + opened > s->max_depth) << lane;
        b->depth[lane] = depth;
        depth += opened - count(close);
    }
    b->reaches_zero = reaches_zero;
    b->may_overflow = may_overflow;
    b->last_depth = depth;
}

static KERNEL void read_lanes(struct batch *b, const struct scanner *s,
                              const uint8_t *data, int32_t first, int32_t size)
{
    find_all_brackets(b, s, data, first, size);
    find_depths(b, s, first, (size + LANE - 1) / LANE);
}

#endif

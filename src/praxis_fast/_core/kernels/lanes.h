/* How the vector kernels read a batch: lanes of 64 bytes, one bit per byte, two passes.

   The first pass, `read_lanes`, has no branch that depends on the data: it finds the
   brackets outside strings and the depth each lane starts at. The second, here, visits
   only lanes in which the depth may come down to zero, which is about one per text. A
   batch that may hold a fault goes to the byte loop, which knows them all.

     bytes      {"a":"]\"",[1]}{
     in string   11  1111             from each opening quote up to its closing quote
     open       1          1   1
     close                   11
     outer                    1       closers whose bracket before is no opener

   A kernel defines KERNEL, the target attribute of all functions, before it includes
   this, and behind it the two functions declared below. */
#ifndef PRAXIS_FAST_LANES_H
#define PRAXIS_FAST_LANES_H

#include "scan.h"

#define LANE 64
#define LANES (SCAN_BATCH / LANE)

/* Bytes `is_plain` looks at: eight lanes. */
#define PLAIN (8 * LANE)

/* Below this, setting up lanes costs more than the byte loop. */
#define SHORT_FEED 48

/* What the first pass notes. In words about lanes, bit i is lane i. */
struct batch {
    uint64_t open[LANES]; /* outside strings */
    uint64_t close[LANES];
    int32_t depth[LANES];   /* before the lane */
    int32_t last_depth;     /* at the end of the batch */
    uint64_t reaches_zero;  /* the depth may come down to zero in the lane */
    uint64_t may_overflow;  /* the depth may go over the limit in the lane */
    uint64_t bad_backslash; /* not zero when there is one outside strings */
    uint64_t in_string;     /* not zero when the batch ends in a string */
    uint64_t in_escape;     /* not zero when its last byte escapes the next */
};

/* The first pass over data[first * LANE:size]; `first` is a multiple of eight. */
static void KERNEL read_lanes(struct batch *, const struct scanner *,
                              const uint8_t *data, int32_t first, int32_t size);

/* Whether p[0:PLAIN] has neither quotes nor backslashes. */
static int KERNEL is_plain(const uint8_t *p);

static inline KERNEL int32_t count(uint64_t bits)
{
    return (int32_t)__builtin_popcountll(bits);
}

/* Closers whose bracket before is no opener: only they lead below any depth the lane
   has been at. The sum carries from each opener to the next bracket. */
static inline KERNEL uint64_t outer_closers(uint64_t open, uint64_t close)
{
    return close & ~((open << 1) + ~(open | close));
}

/* Whether the depth really goes over the limit in the lane. */
static KERNEL int overflows(const struct batch *b, int32_t lane, int32_t max_depth)
{
    uint64_t open = b->open[lane], close = b->close[lane];
    for (uint64_t left = open; left; left &= left - 1) {
        uint64_t below = (left & -left) - 1;
        if (b->depth[lane] + count(open & below) - count(close & below) >= max_depth)
            return 1;
    }
    return 0;
}

static KERNEL int may_be_faulty(const struct batch *b, int32_t max_depth)
{
    for (uint64_t left = b->may_overflow; left; left &= left - 1)
        if (overflows(b, __builtin_ctzll(left), max_depth))
            return 1;
    return b->bad_backslash != 0;
}

/* The bit at which the depth comes down from `depth` to zero, or -1. Each outer closer
   leads down by one, so the end is not before as many of them as there are levels. */
static inline KERNEL int32_t find_end(uint64_t open, uint64_t close, int32_t depth)
{
    uint64_t outer = outer_closers(open, close);
    int32_t levels = depth;
    while (1) {
        uint64_t upto;
        for (; levels > 1; levels--)
            outer &= outer - 1;
        if (!outer)
            return -1;
        upto = outer ^ (outer - 1);
        levels = depth + count(open & upto) - count(close & upto);
        if (!levels)
            return __builtin_ctzll(outer);
        outer &= outer - 1;
    }
}

/* From between texts to behind the opener of the next, with `depth` at 1 then. */
static inline KERNEL int32_t next_text(struct scanner *s, const uint8_t *data,
                                       int32_t pos, int32_t size, struct span *spans,
                                       int32_t *found)
{
    if (pos < size && (data[pos] | 0x20) == '{') { /* '[' too */
        s->start = pos;
        return pos + 1;
    }
    s->state = SCAN_BETWEEN;
    s->depth = 0;
    return scan_to_bracket(s, data, pos, size, spans, found);
}

/* Finds the texts that end in one lane. Without a text open at its start, `pos` is
   behind the next opener. Returns `pos` for the lanes to come. */
static inline KERNEL int32_t visit_lane(const struct batch *b, int32_t lane,
                                        struct scanner *s, const uint8_t *data,
                                        int32_t pos, int32_t size, struct span *spans,
                                        int32_t *found)
{
    uint64_t open = b->open[lane], close = b->close[lane], left = ~(uint64_t)0;
    int32_t depth = b->depth[lane];
    if (!depth) {
        if (pos / LANE != lane)
            return pos;
        left <<= pos % LANE;
        depth = 1;
    }
    while (1) {
        int32_t end = find_end(open & left, close & left, depth);
        if (end < 0)
            return pos;
        pos = lane * LANE + end + 1;
        if (pos - s->start > s->max_frame) {
            s->fault = SCAN_FRAME_FAULT;
            return pos;
        }
        spans[(*found)++] = (struct span){s->start, pos};
        pos = next_text(s, data, pos, size, spans, found);
        if (!s->depth || pos / LANE != lane)
            return pos;
        left = ~(uint64_t)0 << pos % LANE;
        depth = 1;
    }
}

static inline KERNEL void stop_inside(struct scanner *s, const struct batch *b,
                                      int32_t size)
{
    s->depth = b->last_depth;
    s->state = !b->in_string ? SCAN_INSIDE : b->in_escape ? SCAN_ESCAPE : SCAN_STRING;
    if (size - s->start > s->max_frame)
        s->fault = SCAN_FRAME_FAULT;
}

/* The second pass, over a batch known to hold no backslash outside strings and no
   depth over the limit. A frame over the limit shows as that fault, no more. */
static KERNEL int32_t visit_lanes(const struct batch *b, struct scanner *s,
                                  const uint8_t *data, int32_t first, int32_t size,
                                  struct span *spans)
{
    int32_t found = 0, pos = 0;
    if (!s->depth)
        pos = scan_to_bracket(s, data, first * LANE, size, spans, &found);
    for (uint64_t left = b->reaches_zero; left && s->depth; left &= left - 1) {
        int32_t lane = __builtin_ctzll(left);
        pos = visit_lane(b, lane, s, data, pos, size, spans, &found);
        if (s->fault)
            return found;
    }
    if (s->depth)
        stop_inside(s, b, size);
    return found;
}

/* How many lanes at the head of the batch, in eights and never all, lie in a string. */
static KERNEL int32_t skip_string(const struct scanner *s, const uint8_t *data,
                                  int32_t size)
{
    int32_t pos = 0;
    if (s->state == SCAN_STRING)
        while (pos + PLAIN < size && is_plain(data + pos))
            pos += PLAIN;
    return pos - s->start > s->max_frame ? 0 : pos / LANE;
}

static KERNEL int32_t scan_lanes(struct scanner *s, const uint8_t *data, int32_t size,
                                 struct span *spans)
{
    struct scanner before = *s;
    struct batch b;
    int32_t first, found;
    if (size < SHORT_FEED)
        return scan_from(s, data, 0, size, spans, 0);
    first = skip_string(s, data, size);
    read_lanes(&b, s, data, first, size);
    if (may_be_faulty(&b, s->max_depth))
        return scan_from(s, data, 0, size, spans, 0);
    found = visit_lanes(&b, s, data, first, size, spans);
    if (s->fault != SCAN_FRAME_FAULT)
        return found;
    *s = before;
    return scan_from(s, data, 0, size, spans, 0);
}

#endif

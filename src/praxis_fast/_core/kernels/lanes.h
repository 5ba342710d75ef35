/* The walk over lanes of 64 bytes, one bit per byte. Included by each vector kernel,
   which first defines

     KERNEL               the target attribute of all functions
     classify(p, lanes)   sets the masks of the two lanes at p[0:128]
     is_plain(p)          whether p[0:256] has neither quotes nor backslashes
     prefix_xor(bits)     bit i of the result is the parity of bits 0 to i

   A batch is read in two passes. The first has no branch that depends on the data: it
   masks out what stands in strings and notes the depth each lane starts at. The second
   visits only lanes in which the depth may come down to zero, which is about one per
   text. A batch that may hold a fault goes to the byte loop, which knows them all.

     bytes      {"a":"]\"",[1]}{
     quote       1 1 1   1            escaped ones are gone
     in string   11 1111              from each opening quote up to its closing quote
     open       1          1   1
     close                   11
     outer                    1       closers whose last bracket before is no opener
*/
#include <string.h>

#include "scan.h"

#define LANE 64
#define LANES (SCAN_BATCH / LANE)

/* Below this, setting up lanes costs more than the byte loop. */
#define SHORT_FEED 32

struct lane {
    uint64_t quote;
    uint64_t backslash;
    uint64_t open;
    uint64_t close;
};

/* What the first pass notes. Bit i of a word is lane i; masks in `lane` are those
   outside strings once it is through. */
struct batch {
    struct lane lane[LANES];
    int32_t lanes;
    int32_t depth[LANES + 1]; /* before each lane, and at the end */
    uint64_t reaches_zero;    /* the depth may come down to zero in the lane */
    uint64_t may_overflow;    /* the depth may go over the limit in the lane */
    uint64_t bad_backslash;   /* any backslash outside strings; bits mean nothing */
    uint64_t string;          /* all ones when the batch ends in a string */
    uint64_t escape;          /* one when its last byte escapes the next */
};

static void KERNEL classify(const uint8_t *p, struct lane *pair);
static int KERNEL is_plain(const uint8_t *p);
static uint64_t KERNEL prefix_xor(uint64_t bits);

static inline KERNEL int32_t count(uint64_t bits)
{
    return (int32_t)__builtin_popcountll(bits);
}

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

/* Closers whose bracket before is no opener: only they lead below any depth the lane
   has been at. The sum carries from each opener to the next bracket. */
static inline KERNEL uint64_t outer_closers(uint64_t open, uint64_t close)
{
    return close & ~((open << 1) + ~(open | close));
}

static inline KERNEL void mask_strings(struct batch *b, int32_t i)
{
    struct lane *lane = &b->lane[i];
    uint64_t escaped = find_escaped(lane->backslash, b->escape);
    uint64_t quote = lane->quote & ~escaped;
    uint64_t in_string = prefix_xor(quote) ^ b->string;
    b->escape = next_escape(lane->backslash, b->escape);
    b->string ^= -(uint64_t)(count(quote) & 1);
    b->bad_backslash |= lane->backslash & ~in_string;
    lane->open &= ~in_string;
    lane->close &= ~in_string;
    /* Kept for the end of a batch that ends inside a lane. */
    lane->quote = in_string;
    lane->backslash = escaped;
}

static inline KERNEL void note_depth(struct batch *b, int32_t i, int32_t max_depth)
{
    uint64_t open = b->lane[i].open, close = b->lane[i].close;
    int32_t depth = b->depth[i];
    uint64_t reaches = depth <= count(outer_closers(open, close));
    uint64_t overflows = depth + count(open) > max_depth;
    b->reaches_zero |= reaches << i;
    b->may_overflow |= overflows << i;
    b->depth[i + 1] = depth + count(open) - count(close);
}

/* Fills the masks of lanes `first` and up. */
static KERNEL void classify_all(struct batch *b, const uint8_t *data, int32_t first,
                                int32_t size)
{
    uint8_t tail[2 * LANE];
    int32_t pos = first * LANE;
    for (; pos + 2 * LANE <= size; pos += 2 * LANE)
        classify(data + pos, &b->lane[pos / LANE]);
    if (pos < size) {
        memset(tail, ' ', sizeof tail);
        memcpy(tail, data + pos, (size_t)(size - pos));
        classify(tail, &b->lane[pos / LANE]);
    }
}

/* The first pass, over lanes from `first` on. */
static KERNEL void read_lanes(struct batch *b, const struct scanner *s,
                              const uint8_t *data, int32_t first, int32_t size)
{
    int32_t lanes = b->lanes = (size + LANE - 1) / LANE, last = size % LANE;
    classify_all(b, data, first, size);
    b->string = -(uint64_t)(s->state >= SCAN_STRING);
    b->escape = s->state == SCAN_ESCAPE;
    b->depth[first] = s->depth;
    b->reaches_zero = b->may_overflow = b->bad_backslash = 0;
    for (int32_t i = first; i < lanes; i++) {
        mask_strings(b, i);
        note_depth(b, i, s->max_depth);
    }
    if (last) {
        b->string = -(b->lane[lanes - 1].quote >> (last - 1) & 1);
        b->escape = b->lane[lanes - 1].backslash >> last & 1;
    }
}

/* Whether the depth really goes over the limit in the lane. */
static KERNEL int overflows(const struct batch *b, int32_t i, int32_t max_depth)
{
    uint64_t close = b->lane[i].close;
    for (uint64_t open = b->lane[i].open, left = open; left; left &= left - 1) {
        uint64_t below = (left & -left) - 1;
        if (b->depth[i] + count(open & below) - count(close & below) >= max_depth)
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

/* The bit at which the depth comes down from `depth` to zero, or -1. */
static inline KERNEL int32_t find_end(uint64_t open, uint64_t close, int32_t depth)
{
    for (uint64_t left = outer_closers(open, close); left; left &= left - 1) {
        uint64_t below = (left & -left) - 1;
        if (depth + count(open & below) - count(close & below) == 1)
            return __builtin_ctzll(left);
    }
    return -1;
}

/* How many lanes at the head of the batch lie inside a string, if all is well. */
static KERNEL int32_t skip_string(const struct scanner *s, const uint8_t *data,
                                  int32_t size)
{
    int32_t pos = 0;
    if (s->state == SCAN_STRING)
        while (pos + 4 * LANE <= size && is_plain(data + pos))
            pos += 4 * LANE;
    return pos - s->start > s->max_frame ? 0 : pos / LANE;
}

/* Where the second pass stands: inside a text, `depth` deep, with these brackets of
   the lane still to look at. */
struct walk {
    int32_t lane;
    int32_t depth;
    uint64_t open;
    uint64_t close;
    uint64_t visit; /* lanes still to visit */
    int32_t found;
};

static inline KERNEL void enter_lane(struct walk *w, const struct batch *b, int32_t i)
{
    w->lane = i;
    w->depth = b->depth[i];
    w->open = b->lane[i].open;
    w->close = b->lane[i].close;
    w->visit &= w->visit - 1;
}

/* Goes on behind the opener of a text, the byte before `pos`. */
static inline KERNEL void enter_text(struct walk *w, const struct batch *b, int32_t pos)
{
    uint64_t left = ~(uint64_t)0 << (pos & (LANE - 1));
    w->lane = pos / LANE;
    w->depth = 1;
    w->visit &= ~(uint64_t)1 << w->lane;
    w->open = b->lane[w->lane].open & left;
    w->close = b->lane[w->lane].close & left;
}

/* From between texts to behind the next opener, or the end. */
static inline KERNEL int32_t next_text(struct scanner *s, const uint8_t *data,
                                       int32_t pos, int32_t size, struct span *spans,
                                       int32_t *found)
{
    if (pos < size && (data[pos] | 0x20) == '{') { /* '[' too */
        s->start = pos;
        s->depth = 1;
        return pos + 1;
    }
    s->state = SCAN_BETWEEN;
    s->depth = 0;
    return scan_to_bracket(s, data, pos, size, spans, found);
}

/* The second pass, from behind an opener or from the start of the batch. Returns
   whether the batch ends inside a text. */
static KERNEL int find_texts(struct walk *w, const struct batch *b, struct scanner *s,
                             const uint8_t *data, int32_t size, struct span *spans)
{
    while (1) {
        int32_t pos, end = find_end(w->open, w->close, w->depth);
        if (end < 0) {
            if (!w->visit)
                return 1;
            enter_lane(w, b, __builtin_ctzll(w->visit));
            continue;
        }
        pos = w->lane * LANE + end + 1;
        if (pos - s->start > s->max_frame) {
            s->fault = SCAN_FRAME_FAULT;
            return 0;
        }
        spans[w->found++] = (struct span){s->start, pos};
        pos = next_text(s, data, pos, size, spans, &w->found);
        if (!s->depth)
            return 0;
        if (pos == size)
            return 1;
        enter_text(w, b, pos);
    }
}

static inline KERNEL void stop_inside(struct scanner *s, const struct batch *b,
                                      int32_t size)
{
    s->depth = b->depth[b->lanes];
    s->state = !b->string ? SCAN_INSIDE : b->escape ? SCAN_ESCAPE : SCAN_STRING;
    if (size - s->start > s->max_frame)
        s->fault = SCAN_FRAME_FAULT;
}

/* Reads a batch known to hold no backslash outside strings and no depth over the
   limit. A frame over the limit shows as that fault, with the rest left unsaid. */
static KERNEL int32_t walk_lanes(const struct batch *b, struct scanner *s,
                                 const uint8_t *data, int32_t first, int32_t size,
                                 struct span *spans)
{
    struct walk w = {.visit = b->reaches_zero};
    if (!s->depth) {
        int32_t pos = scan_to_bracket(s, data, first * LANE, size, spans, &w.found);
        if (!s->depth)
            return w.found;
        if (pos < size)
            enter_text(&w, b, pos);
        else
            w.visit = 0;
    }
    if (find_texts(&w, b, s, data, size, spans))
        stop_inside(s, b, size);
    return w.found;
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
    found = walk_lanes(&b, s, data, first, size, spans);
    if (s->fault != SCAN_FRAME_FAULT)
        return found;
    *s = before;
    return scan_from(s, data, 0, size, spans, 0);
}

/* The byte loop. Each function takes bytes from `pos` on that belong to its state,
   moves the scanner on and returns where it stopped. */
#include "scan.h"

enum { QUOTE = 1, BACKSLASH = 2, OPEN = 4, CLOSE = 8, COMMA = 16, BLANK = 32 };

static const uint8_t CLASS[256] = {
    ['"'] = QUOTE, ['\\'] = BACKSLASH, ['{'] = OPEN,  ['['] = OPEN,
    ['}'] = CLOSE, [']'] = CLOSE,      [','] = COMMA, [':'] = COMMA,
    [' '] = BLANK, ['\t'] = BLANK,     ['\n'] = BLANK, ['\r'] = BLANK,
};

static int32_t fail(struct scanner *s, enum scan_fault fault, int32_t pos)
{
    s->fault = (uint8_t)fault;
    return pos;
}

/* Where the open text must stop: the batch ends there or the frame limit is reached. */
static inline int32_t frame_end(const struct scanner *s, int32_t size)
{
    int32_t room = s->max_frame + s->start;
    return room < size ? room : size;
}

static int32_t between(struct scanner *s, const uint8_t *data, int32_t pos, int32_t size)
{
    int32_t first = pos;
    while (pos < size && CLASS[data[pos]] == BLANK)
        pos++;
    if (pos - first > s->max_blank - s->blank)
        return fail(s, SCAN_BLANK_FAULT, pos);
    s->blank += pos - first;
    if (pos == size)
        return pos;
    s->blank = 0;
    s->start = pos;
    switch (CLASS[data[pos]]) {
    case CLOSE:
    case COMMA:
        s->stray = data[pos];
        return fail(s, SCAN_STRAY_FAULT, pos);
    case BACKSLASH:
        return fail(s, SCAN_BACKSLASH_FAULT, pos);
    case OPEN:
    case QUOTE:
        s->state = SCAN_INSIDE;
        return pos;
    default:
        s->state = SCAN_SCALAR;
        return pos;
    }
}

static int32_t scalar(struct scanner *s, const uint8_t *data, int32_t pos, int32_t size,
                      struct span *out, int32_t *found)
{
    int32_t end = frame_end(s, size);
    while (pos < end && !CLASS[data[pos]])
        pos++;
    if (pos == size)
        return pos;
    if (!CLASS[data[pos]])
        return fail(s, SCAN_FRAME_FAULT, pos);
    if (CLASS[data[pos]] == BACKSLASH)
        return fail(s, SCAN_BACKSLASH_FAULT, pos);
    out[(*found)++] = (struct span){s->start, pos};
    s->state = SCAN_BETWEEN;
    return pos;
}

static int32_t string(struct scanner *s, const uint8_t *data, int32_t pos, int32_t size,
                      struct span *out, int32_t *found)
{
    int32_t end = frame_end(s, size);
    while (pos < end && !(CLASS[data[pos]] & (QUOTE | BACKSLASH)))
        pos++;
    if (pos == end)
        return end == size ? pos : fail(s, SCAN_FRAME_FAULT, pos);
    if (data[pos++] == '\\') {
        s->state = SCAN_ESCAPE;
    } else if (s->depth) {
        s->state = SCAN_INSIDE;
    } else {
        out[(*found)++] = (struct span){s->start, pos};
        s->state = SCAN_BETWEEN;
    }
    return pos;
}

static int32_t escape(struct scanner *s, int32_t pos, int32_t size)
{
    if (pos == frame_end(s, size))
        return fail(s, SCAN_FRAME_FAULT, pos);
    s->state = SCAN_STRING;
    return pos + 1;
}

static int32_t inside(struct scanner *s, const uint8_t *data, int32_t pos, int32_t size,
                      struct span *out, int32_t *found)
{
    int32_t end = frame_end(s, size);
    while (pos < end) {
        switch (CLASS[data[pos++]]) {
        case QUOTE:
            s->state = SCAN_STRING;
            return pos;
        case BACKSLASH:
            return fail(s, SCAN_BACKSLASH_FAULT, pos);
        case OPEN:
            if (s->depth++ == s->max_depth)
                return fail(s, SCAN_DEPTH_FAULT, pos);
            break;
        case CLOSE:
            if (--s->depth)
                break;
            out[(*found)++] = (struct span){s->start, pos};
            s->state = SCAN_BETWEEN;
            return pos;
        default:
            break;
        }
    }
    return end == size ? pos : fail(s, SCAN_FRAME_FAULT, pos);
}

static inline int32_t step(struct scanner *s, const uint8_t *data, int32_t pos,
                           int32_t size, struct span *spans, int32_t *found)
{
    switch (s->state) {
    case SCAN_BETWEEN:
        return between(s, data, pos, size);
    case SCAN_SCALAR:
        return scalar(s, data, pos, size, spans, found);
    case SCAN_INSIDE:
        return inside(s, data, pos, size, spans, found);
    case SCAN_STRING:
        return string(s, data, pos, size, spans, found);
    default:
        return escape(s, pos, size);
    }
}

int32_t scan_from(struct scanner *s, const uint8_t *data, int32_t pos, int32_t size,
                  struct span *spans, int32_t found)
{
    while (pos < size && !s->fault)
        pos = step(s, data, pos, size, spans, &found);
    return found;
}

int32_t scan_to_bracket(struct scanner *s, const uint8_t *data, int32_t pos,
                        int32_t size, struct span *spans, int32_t *found)
{
    while (pos < size && !s->fault) {
        if (s->state == SCAN_INSIDE && CLASS[data[pos]] == OPEN) {
            s->depth = 1;
            return pos + 1;
        }
        pos = step(s, data, pos, size, spans, found);
    }
    return pos;
}

int32_t scan_scalar(struct scanner *s, const uint8_t *data, int32_t size,
                    struct span *spans)
{
    return scan_from(s, data, 0, size, spans, 0);
}

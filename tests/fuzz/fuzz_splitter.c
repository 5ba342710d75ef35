/* Fuzzes the splitter's kernels against the byte loop, under ASan and UBSan:

     clang -g -O2 -std=c11 -Wall -Wextra -Werror \
       -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
       -fno-sanitize-coverage=trace-cmp \
       -Isrc/praxis_fast/_core/kernels \
       src/praxis_fast/_core/kernels/{scalar,avx2,avx512,neon,dispatch}.c \
       tests/fuzz/fuzz_splitter.c -o build/fuzz_splitter
     build/fuzz_splitter -dict=tests/fuzz/json.dict -max_len=600 -runs=10000000

   The first eight bytes of an input choose limits and chunking; the others are the
   stream, in which a byte from 0xc0 up repeats the byte before it, so that short inputs
   reach over lanes and batches. The byte loop reads the stream whole; each kernel reads
   it whole and in chunks, each chunk at the end of a block, so that no byte behind it can
   be touched unseen. Texts, fault and what is carried on must be equal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

#define CONTROL 8
#define MAX_STREAM 9000
#define MAX_CHUNKS 100

struct outcome {
    struct scanner end;
    int32_t found;
    struct span texts[MAX_STREAM];
};

static struct outcome expected, seen;

static int32_t expand(const uint8_t *data, size_t size, uint8_t *stream)
{
    int32_t length = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t times = data[i] >= 0xc0 && length ? (data[i] & 63) * 2 + 1 : 1;
        uint8_t byte = times > 1 ? stream[length - 1] : data[i];
        if (length + times > MAX_STREAM)
            return length;
        memset(stream + length, byte, (size_t)times);
        length += times;
    }
    return length;
}

/* Feeds one batch, as the splitter does, and notes the texts by their place in the
   stream. */
static void feed_batch(struct outcome *o, scan_function *scan, const uint8_t *batch,
                       int32_t base, int32_t size)
{
    static struct span spans[SCAN_BATCH];
    int32_t found = scan(&o->end, batch, size, spans);
    for (int32_t i = 0; i < found; i++)
        o->texts[o->found++] = (struct span){base + spans[i].start, base + spans[i].end};
    if (o->end.state != SCAN_BETWEEN)
        o->end.start -= size;
}

static void feed(struct outcome *o, scan_function *scan, const uint8_t *stream,
                 int32_t pos, int32_t size)
{
    static uint8_t block[MAX_STREAM];
    uint8_t *chunk = block + MAX_STREAM - size;
    memcpy(chunk, stream + pos, (size_t)size);
    for (int32_t done = 0; done < size && !o->end.fault; done += SCAN_BATCH) {
        int32_t left = size - done < SCAN_BATCH ? size - done : SCAN_BATCH;
        feed_batch(o, scan, chunk + done, pos + done, left);
    }
}

static void run(struct outcome *o, scan_function *scan, const uint8_t *control,
                const uint8_t *stream, int32_t size, int32_t step)
{
    static const int32_t frames[] = {1, 3, 64, 65, 200, 1000, 4096, 1 << 20};
    static const int32_t depths[] = {1, 2, 5, 63, 64, 65, 128, 1 << 30};
    o->end = (struct scanner){.max_frame = frames[control[0] % 8],
                              .max_depth = depths[control[1] % 8],
                              .max_blank = frames[control[2] % 8]};
    o->found = 0;
    for (int32_t pos = 0; pos < size && !o->end.fault; pos += step)
        feed(o, scan, stream, pos, size - pos < step ? size - pos : step);
}

static int is_equal(const struct outcome *a, const struct outcome *b)
{
    const struct scanner *x = &a->end, *y = &b->end;
    if (a->found != b->found || x->fault != y->fault)
        return 0;
    if (memcmp(a->texts, b->texts, (size_t)a->found * sizeof a->texts[0]))
        return 0;
    if (x->fault)
        return x->fault != SCAN_STRAY_FAULT || x->stray == y->stray;
    return x->state == y->state && x->depth == y->depth && x->blank == y->blank &&
           (x->state == SCAN_BETWEEN || x->start == y->start);
}

static void compare(const struct kernel *kernel, const uint8_t *control,
                    const uint8_t *stream, int32_t size, int32_t step)
{
    run(&seen, kernel->scan, control, stream, size, step);
    if (is_equal(&expected, &seen))
        return;
    fprintf(stderr, "%s in chunks of %d: %d texts, fault %d; byte loop: %d, fault %d\n",
            kernel->name, step, seen.found, seen.end.fault, expected.found,
            expected.end.fault);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[MAX_STREAM];
    int32_t length, step;
    if (size < CONTROL)
        return 0;
    length = expand(data + CONTROL, size - CONTROL, stream);
    step = 1 + length / MAX_CHUNKS + (data[3] | data[4] << 8) % 5000;
    run(&expected, scan_scalar, data, stream, length, length + 1);
    for (const struct kernel *kernel = scan_kernels(); kernel->name; kernel++) {
        compare(kernel, data, stream, length, length + 1);
        compare(kernel, data, stream, length, step);
    }
    return 0;
}

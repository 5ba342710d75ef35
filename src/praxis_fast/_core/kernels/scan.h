/* Finds where the top-level JSON texts of a stream end. Shared by all kernels. */
#ifndef PRAXIS_FAST_SCAN_H
#define PRAXIS_FAST_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* Bytes looked at in one call: 64 lanes of 64 bytes, so that one bit per lane fills a
   word, and what is found is copied out while it is still in the first-level cache. */
#define SCAN_BATCH 4096

enum scan_state { SCAN_BETWEEN, SCAN_SCALAR, SCAN_INSIDE, SCAN_STRING, SCAN_ESCAPE };

enum scan_fault {
    SCAN_NO_FAULT,
    SCAN_FRAME_FAULT,
    SCAN_DEPTH_FAULT,
    SCAN_BLANK_FAULT,
    SCAN_STRAY_FAULT,
    SCAN_BACKSLASH_FAULT
};

/* What is carried from one batch to the next. `start` is where the open text began,
   relative to the batch: negative when it began before, meaningless between texts. */
struct scanner {
    int32_t start;
    int32_t depth;
    int32_t blank;
    int32_t max_frame; /* limits are from 1 to 2**30 */
    int32_t max_depth;
    int32_t max_blank;
    uint8_t state;
    uint8_t fault;
    uint8_t stray; /* the byte, after SCAN_STRAY_FAULT */
};

struct span {
    int32_t start; /* relative to the batch, as in struct scanner */
    int32_t end;
};

/* Reads data[0:size], size <= SCAN_BATCH; writes the texts that end in it to `spans`,
   which has room for SCAN_BATCH; returns how many. Stops at a fault. The caller
   subtracts `size` from `start` before the next batch. */
typedef int32_t scan_function(struct scanner *, const uint8_t *data, int32_t size,
                              struct span *spans);

/* The byte loop: the reference all other kernels must equal, and where they turn for
   short feeds and for faults. Starts at `pos`, with `found` texts already in `spans`. */
int32_t scan_from(struct scanner *, const uint8_t *data, int32_t pos, int32_t size,
                  struct span *spans, int32_t found);

/* The same between texts, up to behind the bracket that opens the next one: `depth` is
   1 then, and stays 0 at the end of the batch and at a fault. Returns where it is. */
int32_t scan_to_bracket(struct scanner *, const uint8_t *data, int32_t pos,
                        int32_t size, struct span *spans, int32_t *found);

#if defined(__x86_64__)
#define SCAN_HAS_AVX
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define SCAN_HAS_NEON
#endif

scan_function scan_scalar;
scan_function scan_avx2;
scan_function scan_avx512;
scan_function scan_neon;

/* The kernels this processor can run, best first; ends with a null name. */
struct kernel {
    const char *name;
    scan_function *scan;
};
const struct kernel *scan_kernels(void);

#endif

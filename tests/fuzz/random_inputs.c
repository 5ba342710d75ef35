/* Feeds a fuzz target seeded random inputs, where libFuzzer is not to be had: with gcc,
   or cross-compiled and run under an emulator.

     aarch64-linux-gnu-gcc -g -O2 -static -Isrc/praxis_fast/_core/kernels \
       src/praxis_fast/_core/kernels/{scalar,avx2,avx512,neon,dispatch}.c \
       tests/fuzz/fuzz_splitter.c tests/fuzz/random_inputs.c -o build/random_splitter
     qemu-aarch64 build/random_splitter 100000 1

   Arguments: how many inputs, and the seed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_INPUT 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* xorshift64: the same numbers everywhere. */
static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Mostly structure and repeats, in a mix that differs from input to input. */
static uint8_t next_byte(uint64_t *state, uint64_t mix)
{
    static const uint8_t structure[] = "\"\\[]{}\"\\,: 1a\n\"a";
    uint64_t number = next(state);
    switch (number % 16 < mix % 16 ? 0 : 1 + number % 4) {
    case 0:
        return structure[(number >> 8) % (sizeof structure - 1)];
    case 1:
        return (uint8_t)(0xc0 | number >> 8);
    case 2:
        return (uint8_t)(number >> 8);
    default:
        return (number >> 8 & mix >> 4) % 2 ? '"' : 'a';
    }
}

int main(int argc, char **argv)
{
    static uint8_t input[MAX_INPUT];
    long runs = argc > 1 ? atol(argv[1]) : 100000;
    uint64_t state = argc > 2 ? (uint64_t)atol(argv[2]) : 1;
    state = state * 2 + 1;
    for (long run = 0; run < runs; run++) {
        uint64_t mix = next(&state);
        size_t size = next(&state) % MAX_INPUT;
        for (size_t i = 0; i < size; i++)
            input[i] = i < 8 ? (uint8_t)next(&state) : next_byte(&state, mix);
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%ld inputs\n", runs);
    return 0;
}

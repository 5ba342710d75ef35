/* Which kernels this processor can run. */
#include "scan.h"

#ifdef SCAN_HAS_AVX

static const struct kernel ALL[] = {
    {"avx512", scan_avx512},
    {"avx2", scan_avx2},
    {"scalar", scan_scalar},
    {NULL, NULL},
};

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
           __builtin_cpu_supports("pclmul");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vpopcntdq") &&
           __builtin_cpu_supports("gfni") && __builtin_cpu_supports("vpclmulqdq");
}

const struct kernel *scan_kernels(void)
{
    __builtin_cpu_init();
    return has_avx512() ? &ALL[0] : has_avx2() ? &ALL[1] : &ALL[2];
}

#else

static const struct kernel ALL[] = {
#ifdef SCAN_HAS_NEON
    {"neon", scan_neon}, /* every 64-bit Arm processor has it */
#endif
    {"scalar", scan_scalar},
    {NULL, NULL},
};

const struct kernel *scan_kernels(void)
{
    return ALL;
}

#endif

/* Which kernels this processor can run. */
#include "scan.h"

static const struct kernel KERNELS[] = {
    {"scalar", scan_scalar},
    {NULL, NULL},
};

const struct kernel *scan_kernels(void)
{
    return KERNELS;
}

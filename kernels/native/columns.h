// Sums down the columns of a row-major matrix: bias gradients.
#pragma once
#include "simd.h"

#define column_sums NAME(column_sums)

// sums[n] (+)= sum over rows of x[rows][n], rows ld apart; in blocks, so that long sums keep their accuracy.
int column_sums(long rows, long n, const REAL *x, long ld, REAL *sums, int accumulate);

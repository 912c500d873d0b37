/* What the memory alone takes: reading the columns that a replay reads, and writing the ones that it writes. */
#include <stddef.h>

/* Reads five columns; the result keeps the compiler from leaving the reads out. */
long read_columns(
    long bars, const double *a, const double *b, const double *c, const double *d, const double *e, double above
) {
    long flag = 0;
    for (long t = 0; t < bars; t++) flag |= (a[t] > above) | (b[t] > above) | (c[t] > above) | (d[t] > above) | (e[t] > above);
    return flag;
}

/* Reads three columns and writes three: with memory that nothing has touched, its first use is part of the time. */
long read_and_write(
    long bars, const double *restrict a, const double *restrict b, const double *restrict c, double factor,
    double *restrict x, double *restrict y, double *restrict z
) {
    for (long t = 0; t < bars; t++) {
        x[t] = a[t] + factor * b[t];
        y[t] = factor;
        z[t] = factor * c[t];
    }
    return bars;
}

/* Eigenvalues and eigenvectors of symmetric matrices. */
#ifndef AMG_AUDIT_EIGEN_H
#define AMG_AUDIT_EIGEN_H

#include <stdint.h>

#include "amalgam/status.h"

/* a [n][n], symmetric, is used up. values [n] descending; vectors [n][n], row i is the
 * unit vector of value i, of either sign. Cyclic Jacobi (Golub and Van Loan, Matrix
 * Computations, 8.5): about 30 n^3 multiplications. The only error is AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_eigen_symmetric(double *a, int64_t n, double *values,
                                              double *vectors, amg_error *err);

#endif

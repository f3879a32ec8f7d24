/* Columns of the evidence: the values of one position over many rows, as a fingerprint
 * that another upload of the same data has, too. */
#ifndef AMG_AUDIT_COLUMNS_H
#define AMG_AUDIT_COLUMNS_H

#include "audit/evidence.h"

typedef struct {
    uint64_t *prints;  /* [num_positions] of tokens, by which rows hold the same one */
    uint8_t *constant; /* [num_positions] 1: the same value in all rows */
} amg_columns;

/* Over rows [num_rows], at least one, of the evidence; in parallel. */
AMG_MUST_CHECK amg_status amg_columns_print(const amg_evidence *e, const int64_t *rows,
                                            int64_t num_rows, amg_columns *out,
                                            amg_error *err);
void amg_columns_clear(amg_columns *c); /* zeroed is fine */

/* A value's bits. */
uint32_t amg_columns_element(const amg_evidence *e, int64_t row, int64_t position);

#endif

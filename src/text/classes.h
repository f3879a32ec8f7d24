/* The classes of labelled records: given as a list, or collected from the records. A
 * private header of text/. */
#ifndef AMG_TEXT_CLASSES_H
#define AMG_TEXT_CLASSES_H

#include "text/records.h"
#include "text/spans.h"

/* Zeroed is empty, for collecting. */
typedef struct {
    amg_spans labels; /* label texts: number i is class i, once sealed */
    bool sealed;
    bool by_place; /* no label is a number: "1" is the first class */
} amg_classes;

void amg_classes_clear(amg_classes *c);
/* Takes texts in class order and seals. AMG_INVALID: empty, too long or twice. */
AMG_MUST_CHECK amg_status amg_classes_set(amg_classes *c, const char *const *texts,
                                          int64_t count, amg_error *err);
/* Sorts what was collected, bytewise or, where all are whole numbers, by value.
 * *class_of (heap; NULL: not wanted): the class of each label in the order in which
 * they were collected. */
AMG_MUST_CHECK amg_status amg_classes_seal(amg_classes *c, int32_t **class_of,
                                           amg_error *err);
/* The class of a record's label; before seal it is collected and *out is its place
 * among those that were. path is the record's file. AMG_MISMATCH: not in the list;
 * AMG_MALFORMED: no name for a class. */
AMG_MUST_CHECK amg_status amg_classes_find(amg_classes *c, const amg_record *record,
                                           const char *path, int32_t *out,
                                           amg_error *err);
/* Their names in class order, one heap block; NULL: out of memory. */
const char **amg_classes_names(const amg_classes *c);

#endif

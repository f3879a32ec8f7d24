/* Token sets as a kind of data set. A private header of formats/. */
#ifndef AMG_FORMATS_DATASET_TEXT_H
#define AMG_FORMATS_DATASET_TEXT_H

#include "formats/dataset_kind.h"

extern const amg_dataset_kind amg_dataset_text;

#endif

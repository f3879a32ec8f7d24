/* Arrays "x.npy,y.npy" or "x.npy": samples and targets, or samples alone. */
#ifndef AMG_FORMATS_NPY_PAIR_H
#define AMG_FORMATS_NPY_PAIR_H

#include "formats/dataset_kind.h"

extern const amg_dataset_kind amg_dataset_npy;

#endif

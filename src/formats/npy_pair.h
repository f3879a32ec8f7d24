/* Two arrays "x.npy,y.npy": samples and labels. */
#ifndef AMG_FORMATS_NPY_PAIR_H
#define AMG_FORMATS_NPY_PAIR_H

#include "formats/dataset_kind.h"

extern const amg_dataset_kind amg_dataset_npy;

#endif

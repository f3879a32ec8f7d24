/* "a.npy+b.npy,y.npy" or "a.npy+b.npy": samples of a model of several inputs;
 * "x.npy,y.npy+z.npy": targets of one of several outputs; and both. */
#ifndef AMG_FORMATS_NPY_JOIN_H
#define AMG_FORMATS_NPY_JOIN_H

#include "formats/dataset_kind.h"

extern const amg_dataset_kind amg_dataset_join;

#endif

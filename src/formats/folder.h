/* Images in one folder per class: PATH/[train|test|val/]CLASS/NAME.png|jpg|jpeg. */
#ifndef AMG_FORMATS_FOLDER_H
#define AMG_FORMATS_FOLDER_H

#include "formats/dataset_kind.h"

extern const amg_dataset_kind amg_dataset_folder;

#endif

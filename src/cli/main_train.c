/* amalgam-train: the cloud's program. Trains a job folder; nothing of the owner's side
 * is linked. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        printf("amalgam-train %s\n", AMG_VERSION);
        return ui_flush() ? CLI_OK : CLI_FAILURE;
    }
    return verb_train_job(argc, argv);
}

/* amalgam-train: the cloud's program. Trains a job folder; nothing of the owner's side
 * is linked. */
#include "cli/verbs.h"

int main(int argc, char **argv) { return verb_train_job(argc, argv); }

/* Passphrases: asked on the terminal or read from a file descriptor, never an argument.
 */
#ifndef AMG_CLI_PASSPHRASE_H
#define AMG_CLI_PASSPHRASE_H

#include "cli/options.h"
#include "key/keyfile.h"

/* Reads one line from fd (--passphrase-fd) or, with fd -1, asks on the terminal, twice
 * if confirm. */
AMG_MUST_CHECK amg_status cli_passphrase_read(int fd, bool confirm, amg_passphrase *out,
                                              amg_error *err);
void cli_passphrase_clear(amg_passphrase *p);
/* Opens key only if it asks for one; otherwise leaves *out empty. */
AMG_MUST_CHECK amg_status cli_passphrase_for(const char *key, int fd,
                                             amg_passphrase *out, amg_error *err);
/* Warns that others may read the key file. */
void cli_warn_loose(const char *key);

#endif

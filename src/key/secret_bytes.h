/* The master secret from inside. For src/key/ only: nobody else sees its bytes. */
#ifndef AMG_KEY_SECRET_BYTES_H
#define AMG_KEY_SECRET_BYTES_H

#include "key/secret.h"

struct amg_secret {
    uint8_t bytes[AMG_SECRET_BYTES];
};

/* sodium_init, checked. Any number of calls from any thread. AMG_BACKEND. */
AMG_MUST_CHECK amg_status amg_sodium_ready(amg_error *err);

/* An empty (zeroed) secret to be filled by the caller. */
AMG_MUST_CHECK amg_status amg_secret_alloc(amg_secret **out, amg_error *err);

#endif

/* Fuzzes CIFAR records and lists of class names. The first byte chooses: bit 0 CIFAR-10
 * or CIFAR-100, bit 1 records or names. */
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

#include "formats/cifar.h"

static void fuzz_names(const uint8_t *data, size_t size, amg_cifar_variant variant)
{
    const char *names[100];
    amg_error err;
    char *text = malloc(size + 1);
    if (text == NULL) return;
    memcpy(text, data, size);
    if (amg_cifar_parse_names(text, size, "fuzz", variant, names, &err) == AMG_OK)
        for (int i = 0; i < (variant == AMG_CIFAR_10 ? 10 : 100); i++)
            if (strlen(names[i]) == 0) abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const amg_cifar_variant variant = (data[0] & 1) != 0 ? AMG_CIFAR_100 : AMG_CIFAR_10;
    int64_t num;
    amg_error err;
    if ((data[0] & 2) != 0)
        fuzz_names(data + 1, size - 1, variant);
    else if (amg_cifar_parse(data + 1, size - 1, "fuzz", variant, &num, &err) ==
                 AMG_OK &&
             (size_t)num * (variant == AMG_CIFAR_10 ? 3073 : 3074) != size - 1)
        abort();
    return 0;
}

/* Secrets: hex input, sub-keys and the sample hash against vectors that do not come
 * from libsodium (make_vectors.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "key/secret.h"
#include "vectors.h"

#define HEX_00_1F "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static amg_secret *counting_secret(void)
{
    amg_secret *s = NULL;
    amg_error err = {0};
    assert_int_equal(amg_secret_from_hex(HEX_00_1F, &s, &err), AMG_OK);
    return s;
}

static void subkeys_are_the_documented_blake2b(void **state)
{
    (void)state;
    amg_secret *s = counting_secret();
    uint8_t key[32];
    amg_secret_derive(s, AMG_PURPOSE_SEAL, key);
    assert_memory_equal(key, vector_subkey_1, 32);
    amg_secret_derive(s, AMG_PURPOSE_SAMPLE_HASH, key);
    assert_memory_equal(key, vector_subkey_10, 32);
    amg_secret_free(s);
}

static void purposes_have_distinct_numbers_and_subkeys(void **state)
{
    (void)state;
#define PURPOSE_NUMBER(name, value, text) value,
    const int numbers[] = {AMG_PURPOSE_LIST(PURPOSE_NUMBER)};
#undef PURPOSE_NUMBER
    const size_t count = sizeof numbers / sizeof numbers[0];
    amg_secret *s = counting_secret();
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) {
            uint8_t a[32], b[32];
            assert_int_not_equal(numbers[i], numbers[j]);
            amg_secret_derive(s, (amg_purpose)numbers[i], a);
            amg_secret_derive(s, (amg_purpose)numbers[j], b);
            assert_memory_not_equal(a, b, 32);
        }
    amg_secret_free(s);
}

static void sample_hash_is_keyed_blake2b(void **state)
{
    (void)state;
    amg_secret *s = counting_secret();
    uint8_t hash[AMG_SAMPLE_HASH_BYTES];
    amg_secret_hash(s, "sample", 6, hash);
    assert_memory_equal(hash, vector_hash, sizeof hash);
    amg_secret_hash(s, "samplf", 6, hash);
    assert_memory_not_equal(hash, vector_hash, sizeof hash);
    amg_secret_free(s);
}

static void tags_are_equal_where_samples_are(void **state)
{
    (void)state;
    amg_secret *s = counting_secret(), *other = NULL;
    uint8_t tags[3][AMG_SAMPLE_TAG_BYTES], others[3][AMG_SAMPLE_TAG_BYTES];
    assert_int_equal(amg_secret_new(&other, NULL), AMG_OK);
    amg_secret_tag(s, "samplesamplfsample", 6, 3, tags[0]);
    amg_secret_tag(other, "samplesamplfsample", 6, 3, others[0]);
    assert_memory_equal(tags[0], tags[2], sizeof tags[0]);
    assert_memory_not_equal(tags[0], tags[1], sizeof tags[0]);
    assert_memory_equal(others[0], others[2], sizeof tags[0]);
    assert_memory_not_equal(tags[0], others[0], sizeof tags[0]);
    amg_secret_free(s);
    amg_secret_free(other);
}

static void fresh_secrets_differ(void **state)
{
    (void)state;
    amg_secret *a = NULL, *b = NULL;
    amg_error err = {0};
    assert_int_equal(amg_secret_new(&a, &err), AMG_OK);
    assert_int_equal(amg_secret_new(&b, &err), AMG_OK);
    uint8_t ka[32], kb[32];
    amg_secret_derive(a, AMG_PURPOSE_SEAL, ka);
    amg_secret_derive(b, AMG_PURPOSE_SEAL, kb);
    assert_memory_not_equal(ka, kb, 32);
    amg_secret_free(a);
    amg_secret_free(b);
    amg_secret_free(NULL);
}

static void hex_of_another_length_or_alphabet_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {
        "",
        "00",
        HEX_00_1F "0",
        HEX_00_1F "00",
        "g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1 ",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        amg_secret *s = NULL;
        amg_error err = {0};
        assert_int_equal(amg_secret_from_hex(bad[i], &s, &err), AMG_INVALID);
        assert_null(s);
        assert_int_equal(err.code, AMG_INVALID);
        assert_int_equal(err.offset, -1);
        if (strlen(bad[i]) > 8) assert_null(strstr(err.what, "01020304"));
    }
}

static void upper_case_hex_is_the_same_secret(void **state)
{
    (void)state;
    amg_secret *s = NULL;
    amg_error err = {0};
    assert_int_equal(
        amg_secret_from_hex(
            "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", &s,
            &err),
        AMG_OK);
    uint8_t key[32];
    amg_secret_derive(s, AMG_PURPOSE_SEAL, key);
    assert_memory_equal(key, vector_subkey_1, 32);
    amg_secret_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subkeys_are_the_documented_blake2b),
        cmocka_unit_test(purposes_have_distinct_numbers_and_subkeys),
        cmocka_unit_test(sample_hash_is_keyed_blake2b),
        cmocka_unit_test(tags_are_equal_where_samples_are),
        cmocka_unit_test(fresh_secrets_differ),
        cmocka_unit_test(hex_of_another_length_or_alphabet_is_refused),
        cmocka_unit_test(upper_case_hex_is_the_same_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

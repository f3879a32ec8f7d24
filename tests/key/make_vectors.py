#!/usr/bin/env python3
"""Writes vectors.h: known answers for src/key, from docs/key.md and the RFCs alone.

    python3 tests/key/make_vectors.py > tests/key/vectors.h

Pure Python (hashlib's BLAKE2b; ChaCha20, HChaCha20 and Poly1305 below), so that libsodium is
checked against something that is not libsodium. Each primitive is first checked against its RFC.
"""
import hashlib
import math
import struct

MASK = 0xFFFFFFFF


def rounds(state):
    x = list(state)

    def quarter(a, b, c, d):
        for p, q, r, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] = (x[p] + x[q]) & MASK
            v = x[r] ^ x[p]
            x[r] = ((v << n) | (v >> (32 - n))) & MASK

    for _ in range(10):
        quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14)
    return x


def block(key, last16):
    """One ChaCha20 block; last16 = counter and nonce, 16 bytes, in either split."""
    state = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + last16))
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(rounds(state), state)))


def hchacha(key, nonce16):
    x = rounds(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + nonce16))
    return struct.pack("<8I", *x[:4], *x[12:])


def poly1305(key, msg):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(msg), 16):
        acc = (acc + int.from_bytes(msg[i:i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((acc + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def pad16(b):
    return b + bytes(-len(b) % 16)


def xor(a, b):
    return bytes(p ^ q for p, q in zip(a, b))


def aead(key, nonce12, plain, ad):
    n = len(plain) // 64 + 1
    stream = b"".join(block(key, struct.pack("<I", i + 1) + nonce12) for i in range(n))
    cipher = xor(plain, stream)
    text = pad16(ad) + pad16(cipher) + struct.pack("<QQ", len(ad), len(cipher))
    return cipher + poly1305(block(key, bytes(4) + nonce12)[:32], text)


def xaead(key, nonce24, plain, ad):
    return aead(hchacha(key, nonce24[:16]), bytes(4) + nonce24[16:], plain, ad)


def check_against_the_rfcs():
    k = bytes(range(32))
    # RFC 8439, 2.3.2 and A.1 vectors 1, 2
    assert block(k, bytes.fromhex("01000000000000090000004a00000000")).hex().startswith(
        "10f1e7e4d13b5915500fdd1fa32071c4")
    assert block(bytes(32), bytes(16)).hex().startswith("76b8e0ada0f13d90405d6ae55386bd28")
    assert block(bytes(32), b"\x01" + bytes(15)).hex().startswith("9f07e7be5551387a98ba977c732d080d")
    # RFC 8439, 2.5.2
    assert poly1305(bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b"),
                    b"Cryptographic Forum Research Group").hex() == "a8061dc1305136c6c22b8baf0c0127a9"
    # RFC 8439, 2.8.2 (tag)
    text = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
            b"future, sunscreen would be it.")
    ad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    key = bytes(range(0x80, 0xA0))
    assert aead(key, bytes.fromhex("070000004041424344454647"), text, ad)[-16:].hex() == \
        "1ae10b594f09e26a7e902ecbd0600691"
    # draft-irtf-cfrg-xchacha-03, 2.2.1 and A.3.1 (tag)
    assert hchacha(k, bytes.fromhex("000000090000004a0000000031415927")).hex() == \
        "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert xaead(key, bytes(range(0x40, 0x58)), text, ad)[-16:].hex() == \
        "c0875924c1c7987947deafd8780acf49"


def subkey(secret, purpose):
    return hashlib.blake2b(digest_size=32, key=secret, salt=struct.pack("<QQ", purpose, 0),
                           person=b"AMALGAM1" + bytes(8)).digest()


class Keystream:
    def __init__(self, secret, purpose, index):
        self.key, self.index, self.counter, self.buffer = subkey(secret, purpose), index, 0, b""

    def bytes(self, n):
        while len(self.buffer) < n:
            self.buffer += block(self.key, struct.pack("<QQ", self.counter, self.index))
            self.counter += 1
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def u64(self):
        return int.from_bytes(self.bytes(8), "little")

    def below(self, bound):
        while True:
            x = self.u64()
            if x < 2**64 - 2**64 % bound:
                return x % bound

    def unit(self):
        return (self.u64() >> 11) * 2.0**-53

    def normal(self):
        u, v = 1 - self.unit(), self.unit()
        return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)

    def permutation(self, n):
        a = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.below(i + 1)
            a[i], a[j] = a[j], a[i]
        return a

    def sample(self, n, m):
        a = list(range(n))
        for i in range(m):
            j = i + self.below(n - i)
            a[i], a[j] = a[j], a[i]
        return a[:m]


def c_bytes(name, data):
    lines = [", ".join(f"0x{b:02x}" for b in data[i:i + 12]) for i in range(0, len(data), 12)]
    return f"static const uint8_t {name}[{len(data)}] = {{\n    " + ",\n    ".join(lines) + "};\n"


def c_numbers(kind, name, values):
    lines = [", ".join(str(v) for v in values[i:i + 8]) for i in range(0, len(values), 8)]
    return f"static const {kind} {name}[{len(values)}] = {{\n    " + ",\n    ".join(lines) + "};\n"


def main():
    check_against_the_rfcs()
    secret = bytes(range(32))
    positions, index = 2, 0x0123456789ABCDEF
    big = 2**63 + 1  # almost every second draw is rejected
    ks = Keystream(secret, positions, index)
    stream = ks.bytes(2400)
    nonce = bytes(range(100, 124))
    payload = b"what the key file holds"
    head = (b"AMGKEY1\n" + struct.pack("<IIQQ", 1, 0, 0, 0) + bytes(16 + 24) + nonce +
            struct.pack("<Q", len(payload)) + secret + bytes(16))
    print("/* Made by make_vectors.py; do not edit. Secret: 000102..1f. */")
    print("#ifndef AMG_TEST_KEY_VECTORS_H\n#define AMG_TEST_KEY_VECTORS_H\n\n#include <stdint.h>\n")
    print("/* Each test file uses some of these. */")
    print("#pragma GCC diagnostic ignored \"-Wunused-const-variable\"\n")
    print("/* clang-format off */")
    print("/* Sub-key 1 (SEAL) and 10 (SAMPLE_HASH). */")
    print(c_bytes("vector_subkey_1", subkey(secret, 1)))
    print(c_bytes("vector_subkey_10", subkey(secret, 10)))
    print("/* BLAKE2b-128 of \"sample\" under sub-key 10. */")
    print(c_bytes("vector_hash", hashlib.blake2b(b"sample", digest_size=16, key=subkey(secret, 10)).digest()))
    print("/* Keystream (POSITIONS, index 0x0123456789abcdef). */")
    print(c_bytes("vector_stream", stream))
    ks = Keystream(secret, positions, 7)
    print("/* Draws below 2^63 + 1, then below 10, each from the start of index 7. */")
    print(c_numbers("uint64_t", "vector_below_big", [f"UINT64_C({ks.below(big)})" for _ in range(16)]))
    ks = Keystream(secret, positions, 7)
    print(c_numbers("uint64_t", "vector_below_ten", [ks.below(10) for _ in range(16)]))
    print("/* permutation(20), sample(1000, 16), 4 units, 6 normals, each from the start of index 9. */")
    print(c_numbers("int64_t", "vector_permutation", Keystream(secret, positions, 9).permutation(20)))
    print(c_numbers("int64_t", "vector_sample", Keystream(secret, positions, 9).sample(1000, 16)))
    ks = Keystream(secret, positions, 9)
    print(c_numbers("double", "vector_unit", [ks.unit().hex() for _ in range(4)]))
    ks = Keystream(secret, positions, 9)
    print(c_numbers("double", "vector_normal", [ks.normal().hex() for _ in range(6)]))
    print(f"/* A key file without passphrase; payload \"{payload.decode()}\". */")
    print(c_bytes("vector_keyfile", head + xaead(subkey(secret, 1), nonce, payload, head)).rstrip())
    print("/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()

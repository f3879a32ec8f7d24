#!/usr/bin/env python3
"""Writes image_golden.h: small PNG and JPEG files and the pixels Pillow decodes them to.

    python3 -m venv v && v/bin/pip install pillow numpy
    v/bin/python tests/formats/make_image_golden.py > tests/formats/image_golden.h

The PNG files are assembled here chunk by chunk (every colour type, bit depth and the
interlaced form); the JPEG files come from Pillow (libjpeg-turbo). 16-bit pixels, which
Pillow cuts to their high byte, are scaled by numpy as the PNG specification says:
round(v * 255 / 65535).
"""
import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(
        ">I", zlib.crc32(kind + data))


def pack_rows(samples, depth):
    """[H,W,C] integers to filter-0 scan lines of the given bit depth."""
    out = b""
    for row in samples:
        bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
        bits += "0" * (-len(bits) % 8)
        out += b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
         (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, color, interlaced=False, extra=b""):
    h, w = samples.shape[:2]
    if interlaced:
        raw = b"".join(
            pack_rows(part, depth)
            for x, y, dx, dy in ADAM7
            for part in [samples[y::dy, x::dx]] if part.size)
    else:
        raw = pack_rows(samples, depth)
    head = struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra +
            chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def jpeg(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", **options)
    return out.getvalue()


def decode(data):
    """Planes [C,H,W] as Pillow sees them, alpha dropped, palettes to RGB."""
    image = Image.open(io.BytesIO(data))
    grey = image.mode in ("1", "L", "LA", "I;16", "I")
    image = image.convert("LA" if image.mode == "LA" else "L" if grey else "RGB")
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if image.mode == "LA":
        array = array[:, :, :1]
    return array.transpose(2, 0, 1)


def c_array(name, data):
    print(f"static const uint8_t {name}[] = {{")
    for i in range(0, len(data), 16):
        print("    " + " ".join(f"0x{b:02x}," for b in data[i:i + 16]))
    print("};")


def main():
    rng = np.random.default_rng(20)
    u = lambda *shape, below=256: rng.integers(0, below, shape)
    palette = u(4, 3).astype(np.uint8)
    plte = chunk(b"PLTE", palette.tobytes())
    trns = chunk(b"tRNS", bytes([0, 255, 128]))
    g16, rgb16 = u(3, 2, 1, below=65536), u(2, 3, 3, below=65536)
    scale = lambda a: ((a * 255 + 32895) >> 16).astype(np.uint8).transpose(2, 0, 1)
    ramp = np.add.outer(np.arange(19) * 9, np.arange(17) * 5)
    smooth = np.stack([ramp, 255 - ramp, ramp[::-1]], 2).clip(0, 255).astype(np.uint8)
    cases = [
        ("png_grey", png(u(3, 5, 1), 8, 0), None),
        ("png_grey1", png(u(3, 11, 1, below=2), 1, 0), None),
        ("png_grey2", png(u(3, 5, 1, below=4), 2, 0), None),
        ("png_grey4", png(u(3, 5, 1, below=16), 4, 0), None),
        ("png_grey16", png(g16, 16, 0), scale(g16)),
        ("png_rgb", png(u(2, 3, 3), 8, 2), None),
        ("png_rgb16", png(rgb16, 16, 2), scale(rgb16)),
        ("png_palette", png(u(4, 3, 1, below=4), 2, 3, extra=plte), None),
        ("png_palette_clear", png(u(4, 3, 1, below=4), 8, 3, extra=plte + trns), None),
        ("png_grey_alpha", png(u(3, 2, 2), 8, 4), None),
        ("png_rgba", png(u(2, 3, 4), 8, 6), None),
        ("png_interlaced", png(u(9, 10, 3), 8, 2, interlaced=True), None),
        ("jpeg_grey", jpeg(smooth[:, :, 0], quality=80), None),
        ("jpeg_rgb", jpeg(smooth, quality=90, subsampling=0), None),
        ("jpeg_420", jpeg(smooth, quality=75, subsampling=2), None),
        ("jpeg_progressive", jpeg(smooth, quality=75, progressive=True), None),
    ]
    print("/* Made by tests/formats/make_image_golden.py; do not edit. */")
    for name, data, pixels in cases:
        pixels = decode(data) if pixels is None else pixels
        c_array(name, data)
        c_array(name + "_pixels", pixels.tobytes())
    cmyk = Image.new("CMYK", (8, 8), (10, 20, 30, 40))
    out = io.BytesIO()
    cmyk.save(out, "JPEG")
    c_array("jpeg_cmyk", out.getvalue())
    grey = np.asarray(Image.open(io.BytesIO(dict((c[0], c[1]) for c in cases)["png_rgb"]))
                      .convert("L"))
    c_array("png_rgb_as_grey_pixels", grey.tobytes())
    print("static const struct {\n    const char *name;\n    const uint8_t *file;\n"
          "    size_t size;\n    const uint8_t *pixels;\n    int64_t dims[3];\n"
          "} image_golden[] = {")
    for name, data, pixels in cases:
        c, h, w = (decode(data) if pixels is None else pixels).shape
        print(f'    {{"{name}", {name}, sizeof {name}, {name}_pixels, '
              f"{{{c}, {h}, {w}}}}},")
    print("};")


if __name__ == "__main__":
    sys.exit(main())

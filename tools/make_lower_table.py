#!/usr/bin/env python3
"""Writes src/text/lower_table.h: Unicode's simple lower-case mapping beyond ASCII.

    tools/make_lower_table.py > src/text/lower_table.h
"""
import unicodedata


def simple_lower(c):
    """str.lower is the full mapping; the one letter where it is longer maps to i."""
    low = chr(c).lower()
    return ord(low) if len(low) == 1 else ord("i")


def rows():
    """[first, last, step, delta] of runs of letters with one delta, every one or every second."""
    found = []
    for c in range(0x80, 0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        delta = simple_lower(c) - c
        if delta == 0:
            continue
        if found:
            row = found[-1]
            step = c - row[1]
            if row[3] == delta and step <= 2 and row[2] in (0, step):
                row[1], row[2] = c, step
                continue
        found.append([c, c, 0, delta])
    return found


def main():
    print(f"/* Unicode {unicodedata.unidata_version}: simple lower-case mapping beyond ASCII, made by\n"
          " * tools/make_lower_table.py. Every step-th code point from first to last maps to\n"
          " * itself + delta. */")
    print("#ifndef AMG_TEXT_LOWER_TABLE_H\n#define AMG_TEXT_LOWER_TABLE_H\n\n#include <stdint.h>\n")
    print("typedef struct {\n    uint32_t first, last, step;\n    int32_t delta;\n} amg_lower_row;\n")
    print("/* clang-format off */\nstatic const amg_lower_row lower_table[] = {")
    line = "   "
    for first, last, step, delta in rows():
        cell = f" {{{first:#x}, {last:#x}, {max(step, 1)}, {delta}}},"
        if len(line) + len(cell) > 88:
            print(line)
            line = "   "
        line += cell
    print(line)
    print("};\n/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()

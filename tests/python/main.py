"""Runs every test of the package, those that need torch included, and ends with "N passed, M failed":
python tests/python/main.py BUILD. Skipped tests are named and count as neither."""
import os
import sys
import unittest


def main(build):
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ["AMALGAM_LIBRARY"] = os.path.join(os.path.abspath(build), "src", "api", "libamalgam.so")
    suite = unittest.defaultTestLoader.discover(here, "test_*.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(suite)
    for test, why in result.skipped:
        print(f"skipped: {test.id()}: {why}")
    broken = len(result.failures) + len(result.errors)
    passed = result.testsRun - broken - len(result.skipped)
    print(f"{max(passed, 0)} passed, {broken} failed")
    return 1 if broken or passed < 1 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

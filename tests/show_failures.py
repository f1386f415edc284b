#!/usr/bin/env python3
"""show_failures.py RESULTS.xml: the end of what each failed test printed, and how many failed.

RESULTS.xml is what `ctest --output-junit` wrote. In a log of hundreds of tests the outputs stand far from its end, which
is all that some servers show.
"""
import sys
import xml.etree.ElementTree as ElementTree

LINES = 60  # of each test: a sanitizer's report, or the last checks that failed
TESTS = 5


def has_failed(case):
    skipped = case.find("skipped")  # also a program that is not there, which ctest counts as failed
    by_itself = skipped is not None and skipped.get("message", "").startswith("SKIP_")
    return case.get("status") in ("fail", "notrun") and not by_itself


def main():
    suite = ElementTree.parse(sys.argv[1]).getroot()
    failed = [case for case in suite.iter("testcase") if has_failed(case)]
    for case in failed[:TESTS]:
        output = case.findtext("system-out", default="").rstrip().splitlines()
        print(f"\n--- {case.get('name')}: failed; its last lines of {len(output)}")
        print("\n".join(output[-LINES:]))
    if len(failed) > TESTS:
        print("\n--- failed too: " + ", ".join(case.get("name") for case in failed[TESTS:]))
    print(f"\n{len(failed)} tests failed out of {suite.get('tests')}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Checks the include directions between the project's folders, from the #include lines of all C++ and CUDA files.

    check_includes.py [ROOT]      prints every include that is not allowed; exit status 1 if there is one
    check_includes.py --self-test checks that the rules catch what they should
"""

import pathlib
import re
import sys

# What each folder may include, as prefixes of paths from the root. Public headers count as "vistazo/...".
ALLOWED = {
    "apps": ["apps/", "vistazo/"],
    "models": ["models/", "engine/", "vistazo/", "weights/", "kernels/base/", "kernels/*.h"],
    "engine": ["engine/", "vistazo/", "kernels/", "weights/"],
    "vistazo": ["vistazo/"],
    "weights": ["weights/", "kernels/base/"],
    "kernels": ["kernels/"],
    "tests": [""],
}
# The one type that every layer throws; it includes nothing of ours.
FOR_EVERYONE = "vistazo/error.h"

SUFFIXES = {".h", ".hpp", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def folder_of(path):
    """The layer of a file given from the root: "vistazo" for public headers, else its first folder."""
    return "vistazo" if path.startswith("engine/vistazo/") else path.split("/", 1)[0]


def is_allowed(prefix, target):
    if prefix.endswith("/*.h"):  # the headers of that folder, not of folders below
        return target.startswith(prefix[:-3]) and "/" not in target[len(prefix) - 3 :]
    return target.startswith(prefix)


def problem(path, line):
    """Why `path` may not contain `line`; None if it may."""
    match = INCLUDE.match(line)
    if not match:
        return None
    quote, target = match.groups()
    target = target.removeprefix("engine/") if target.startswith("engine/vistazo/") else target
    is_ours = target.split("/", 1)[0] in ALLOWED
    if ".." in target.split("/") or (quote == '"' and "/" not in target):
        return "our headers are included by their path from the root"
    if not is_ours or target == FOR_EVERYONE:
        return None
    folder = folder_of(path)
    if any(is_allowed(prefix, target) for prefix in ALLOWED[folder]):
        return None
    return f"{folder} may include only {', '.join(ALLOWED[folder])} and {FOR_EVERYONE}"


def check(root):
    files = problems = 0
    for folder in sorted(set(ALLOWED) - {"vistazo"}):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            files += 1
            path = file.relative_to(root).as_posix()
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                reason = problem(path, line)
                if reason:
                    problems += 1
                    print(f"{path}:{number}: {line.strip()}: {reason}")
    print(f"{files} files, {problems} includes that are not allowed")
    return files > 0 and problems == 0


def self_test():
    allowed = [
        ("apps/detect.cpp", "#include <vistazo/detector.h>"),
        ("apps/detect.cpp", '#include "apps/options.h"'),
        ("apps/detect.cpp", "#include <vector>"),
        ("models/vit.cpp", '#include "engine/ops.h"'),
        ("models/vit.cpp", '#include "kernels/activation.h"'),
        ("models/vit.cpp", '#include "weights/config_reader.h"'),
        ("engine/ops_cpu.cpp", '#include "kernels/cpu/linear.h"'),
        ("weights/checkpoint.cpp", '#include "kernels/base/dtype.h"'),
        ("kernels/base/error.h", "#include <vistazo/error.h>"),
        ("kernels/cuda/softmax.cu", '  #  include "kernels/softmax.h"'),
        ("tests/models/vit_test.cpp", '#include "models/vit.h"'),
        ("kernels/cpu/softmax.cpp", '#include "hwy/highway.h"'),
        ("kernels/x.cpp", '// #include "engine/ops.h"'),
    ]
    forbidden = [
        ("apps/detect.cpp", '#include "engine/ops.h"'),
        ("apps/detect.cpp", '#include "kernels/base/dtype.h"'),
        ("models/vit.cpp", '#include "kernels/cpu/linear.h"'),
        ("models/vit.cpp", '#include "apps/options.h"'),
        ("engine/detector.cpp", '#include "models/vit.h"'),
        ("engine/vistazo/detector.h", '#include "engine/ops.h"'),
        ("engine/vistazo/detector.h", '#include "kernels/base/dtype.h"'),
        ("weights/checkpoint.cpp", '#include "kernels/softmax.h"'),
        ("weights/checkpoint.cpp", "#include <vistazo/detector.h>"),
        ("kernels/softmax.h", "#include <engine/ops.h>"),
        ("kernels/softmax.h", '#include "weights/checkpoint.h"'),
        ("kernels/softmax.h", '#include "tests/support/buffers.h"'),
        ("kernels/cuda/softmax.cu", '  #  include "engine/tensor.h"'),
        ("kernels/softmax.h", '#include "activation.h"'),
        ("kernels/softmax.h", '#include "kernels/../engine/ops.h"'),
        ("kernels/softmax.h", '#include "../engine/ops.h"'),
    ]
    wrong = [case for case in allowed if problem(*case)] + [case for case in forbidden if not problem(*case)]
    for path, line in wrong:
        print(f"wrong answer for {path}: {line}")
    print(f"{len(allowed) + len(forbidden)} cases, {len(wrong)} wrong")
    return not wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    return check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

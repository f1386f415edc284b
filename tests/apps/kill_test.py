"""Kills the program while it works, and has it go on: python3 kill_test.py PROGRAM MODEL IMAGE [TEST..]

MODEL is a tiny one: what it finds is noise, but always the same.
"""
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM, MODEL, IMAGE = (os.path.abspath(path) for path in sys.argv[1:4])
OPTIONS = ["--model", MODEL, "--device", "cpu", "--min-score", "0.2", "--max-detections", "5"]
OUTPUTS = ["--csv", "o.csv", "--coco", "o.json", "--yolo", "labels", "--crops", "crops"]


def write_scan(path, side):
    """A tiled BigTIFF, deflated, side x side pixels; its 16 kinds of tile are stored once each."""
    tile = 512
    data, kinds = b"", []
    for kind in range(16):
        stripe = bytes((x * (kind + 3) // 7 + c * 60) % 200 for x in range(tile) for c in range(3))
        rows = b"".join(stripe if y // (8 + kind) % 2 else stripe[::-1] for y in range(tile))
        packed = zlib.compress(rows, 1)
        kinds.append((16 + len(data), len(packed)))
        data += packed
    across = (side + tile - 1) // tile
    tiles = [kinds[(7 * x + 5 * y + x * y) % 16] for y in range(across) for x in range(across)]
    lists = [struct.pack(f"<{len(tiles)}Q", *(t[i] for t in tiles)) for i in (0, 1)]
    offsets_at = 16 + len(data)
    short, long8 = 3, 16
    entries = [(256, short, 1, side), (257, short, 1, side), (258, short, 3, 8 | 8 << 16 | 8 << 32), (259, short, 1, 8),
               (262, short, 1, 2), (277, short, 1, 3), (284, short, 1, 1), (322, short, 1, tile), (323, short, 1, tile),
               (324, long8, len(tiles), offsets_at), (325, long8, len(tiles), offsets_at + len(lists[0]))]
    directory = struct.pack("<Q", len(entries)) + b"".join(struct.pack("<HHQQ", *e) for e in entries) + bytes(8)
    directory_at = offsets_at + len(lists[0]) + len(lists[1])
    path.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory_at) + data + lists[0] + lists[1] + directory)


class KillTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vistazo kill "))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, folder, *arguments):
        """In a folder of its own, with the outputs in there."""
        target = self.folder / folder
        target.mkdir(exist_ok=True)
        return target, subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=target, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def finish(self, folder, *arguments, code=0):
        target, process = self.start(folder, *arguments)
        output, errors = process.communicate(timeout=500)
        self.assertEqual(process.returncode, code, errors)
        return target, output

    def kill(self, process, number):
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        return errors

    def files(self, folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def windows_in(self, partial):
        """Lines of windows that are written to their end."""
        return len(re.findall(r'^{"window".*\n', partial.read_text(), re.M)) if partial.exists() else 0

    def test_a_killed_detect_leaves_what_was_finished(self):
        command = ["detect", *OPTIONS, "--batch", "1", *OUTPUTS]
        shutil.copy(IMAGE, self.folder / "i.png")
        image = "../i.png"
        images = 5
        whole = self.files(self.finish("whole", *command, *[image] * images)[0])
        target, process = self.start("killed", *command, *[image] * 3000)
        while process.poll() is None and not (target / f"labels/i_{images + 1}.txt").exists():
            time.sleep(0.01)
        self.kill(process, signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        killed = self.files(target)
        for name, content in whole.items():
            if name.startswith(("labels", "crops")):
                self.assertEqual(killed[name], content, name)
            else:
                self.assertNotIn(name, killed)
                end = b"\n]\n" if name == "o.json" else b""
                self.assertTrue(killed[name + ".partial"].startswith(content.removesuffix(end)), name)

    def test_a_killed_or_interrupted_tile_goes_on_and_ends_the_same(self):
        scan = self.folder / "scan.tif"
        write_scan(scan, 2500)
        command = ["tile", scan, *OPTIONS, "--window", "128", "--batch", "4", "--json", "o.jsonl"]
        outputs = [*OUTPUTS, "--geojson", "o.geojson", "--save", "density.jpg"]
        target, output = self.finish("whole", *command, *outputs)
        whole = self.files(target)
        windows, objects = (int(re.search(rf"{word} +(\d+)", output)[1]) for word in ("windows", "objects"))
        self.assertGreater(objects, 500)
        self.assertFalse([name for name in whole if "partial" in name])
        folder, told = "killed", 0
        for stop in [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM]:
            resume = ["--resume"] if told else []
            target, process = self.start(folder, *command, *outputs, *resume)
            partial = target / "o.jsonl.partial"
            wanted = told + windows // 6
            while process.poll() is None and self.windows_in(partial) <= wanted:
                time.sleep(0.002)
            errors = self.kill(process, stop)
            told = self.windows_in(partial)
            self.assertTrue(wanted < told < windows, (stop, wanted, told, windows))
            if stop != signal.SIGKILL:
                self.assertEqual(process.returncode, 130)
                self.assertIn("--resume goes on", errors)
            for name in ["o.csv", "o.json", "o.geojson", "o.jsonl", "labels/scan.txt", "density.jpg"]:
                self.assertFalse((target / name).exists(), name)
            # What the seams of later rows cannot change was told, and is in every file.
            lines = (target / "o.csv.partial").read_bytes()
            self.assertGreater(lines.count(b"\n"), 50)
            self.assertTrue(whole["o.csv"].startswith(lines[:lines.rfind(b"\n") + 1]))
        target, output = self.finish(folder, *command, *outputs, "--resume")
        self.assertIn(f"{windows} of {windows}, {windows - told} in this run", output)
        again = self.files(target)
        self.assertEqual(list(again), list(whole))
        for name in whole:
            self.assertEqual(again[name], whole[name], name)

    def test_a_scan_of_40000_pixels_needs_little_memory_and_shows_its_progress(self):
        scan = self.folder / "scan.tif"
        write_scan(scan, 40000)
        self.assertLess(scan.stat().st_size, 10 << 20)
        terminal, other_end = pty.openpty()
        process = subprocess.Popen([PROGRAM, "tile", scan, *OPTIONS, "--window", "2048", "--json", self.folder / "o.jsonl"],
                                   stdout=subprocess.PIPE, stderr=other_end, text=True)
        os.close(other_end)
        seen = b""
        try:
            while chunk := os.read(terminal, 4096):
                seen += chunk
        except OSError:
            pass  # the other end is closed
        output, _ = process.communicate(timeout=300)
        os.close(terminal)
        self.assertEqual(process.returncode, 0, seen)
        self.assertIn("40000 x 40000 pixels, TIFF", output)
        self.assertLess(int(re.search(r"memory +(\d+) MiB", output)[1]), 1536, output)
        windows = int(re.search(r"windows +(\d+)", output)[1])
        counts = [int(n) for n in re.findall(rb"(\d+)/%d \[" % windows, seen)]
        self.assertGreater(len(counts), 3)
        self.assertEqual(counts, sorted(counts))
        self.assertIn(b"windows/s", seen)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])

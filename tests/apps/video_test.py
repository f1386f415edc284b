"""Drives `vistazo video` with real files and real sockets: python3 video_test.py PROGRAM MODEL IMAGES [TEST..]

Needs ffmpeg and ffprobe; the test of RTSP needs GStreamer's server too. What is missing is said, and skipped.
"""
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from fractions import Fraction

PROGRAM, MODEL, IMAGES = (os.path.abspath(path) for path in sys.argv[1:4])
PICTURE = pathlib.Path(IMAGES)
STEP_S = 0.05
PATIENCE_S = 120  # a machine that does much else

RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! jpegenc"
                   " ! rtpjpegpay name=pay0 pt=26 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/test", factory)
server.attach(None)
GLib.MainLoop().run()
"""


def find_gstreamer_python():
    """A Python that has GStreamer's server: Debian's packages are for Debian's own. None without."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
            return python
    return None


GSTREAMER_PYTHON = find_gstreamer_python()


def command(*arguments):
    return [PROGRAM, "video", "--model", MODEL, "--precision", "f32", *map(str, arguments)]


def run(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, **options)


def ffmpeg(*arguments):
    return ["ffmpeg", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]


def probe(path):
    """Frames' times (s) and the stream's facts, by an independent decoder."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries",
         "frame=pts_time:stream=width,height,avg_frame_rate", "-of", "json", str(path)],
        capture_output=True, text=True, check=True).stdout
    answer = json.loads(out)
    return [float(frame["pts_time"]) for frame in answer["frames"]], answer["streams"][0]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class VideoTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vistazo video "))
        self.addCleanup(shutil.rmtree, self.folder)

    def make_video(self, name, seconds=1.0, rate=10, size="320x240", *options):
        """The picture, panned across, with its objects in motion."""
        path = self.folder / name
        width, height = map(int, size.split("x"))
        pan = f"scale={width * 3 // 2}:{height * 3 // 2},crop={width}:{height}:x='mod(4*n,{width // 2})':y=0"
        subprocess.run(ffmpeg("-loop", "1", "-framerate", rate, "-t", seconds, "-i", PICTURE, "-vf", pan,
                              "-pix_fmt", "yuv420p", *options, path), check=True)
        return path

    def lines(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    def check(self, result, code=0):
        self.assertEqual(result.returncode, code, result.stderr + result.stdout)
        return result

    def start(self, *arguments):
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def start_server(self, arguments):
        server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return server

    def wait_for(self, condition, what, process=None):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if process is not None and process.poll() is not None:
                self.fail(f"{what}: the program ended: {process.stderr.read()}")
            self.assertLess(time.monotonic(), end, what)
            time.sleep(STEP_S)

    def finish(self, process):
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0, process.stderr.read())


class FileTest(VideoTest):
    def test_every_frame_in_order_with_its_time(self):
        for name in ["a.mp4", "a.mkv"]:
            with self.subTest(name=name):
                video = self.make_video(name, 1.5, 12)
                saved, lines = self.folder / "out.mp4", self.folder / "out.jsonl"
                self.check(run(video, "--save", saved, "--jsonl", lines, "--track", "--min-score", "0.3"))
                times, stream = probe(video)
                saved_times, saved_stream = probe(saved)
                self.assertEqual(len(times), 18)
                for key in ("width", "height"):
                    self.assertEqual(saved_stream[key], stream[key])
                # Matroska rounds times to milliseconds.
                self.assertAlmostEqual(float(Fraction(saved_stream["avg_frame_rate"])), 12, delta=0.01)
                self.assertEqual(len(saved_times), len(times))
                for ours, theirs in zip(saved_times, times):
                    self.assertAlmostEqual(ours, theirs, delta=0.0015)
                results = self.lines(lines)
                self.assertEqual([r["frame"] for r in results], list(range(18)))
                for result, seconds in zip(results, times):
                    self.assertEqual(result["source"], str(video))
                    self.assertAlmostEqual(result["time_ms"], 1000 * (seconds - times[0]), delta=1.5)
                    self.assertTrue(result["detections"])
                    for d in result["detections"]:
                        self.assertLessEqual({"box", "score", "class_id", "label"}, d.keys())
                ids = [{d["track_id"] for d in r["detections"] if "track_id" in d} for r in results]
                self.assertTrue(ids[0])
                self.assertTrue(all(a & b for a, b in zip(ids, ids[1:])), "no object is followed")

    def test_times_that_are_not_even(self):
        video = self.make_video("uneven.mkv", 2, 10, "320x240", "-vsync", "vfr")
        uneven = self.folder / "thinned.mkv"
        subprocess.run(ffmpeg("-i", video, "-vf", "select='not(mod(n,3)*mod(n,4))'", "-vsync", "vfr", uneven), check=True)
        saved = self.folder / "out.mkv"
        self.check(run(uneven, "--save", saved))
        times, saved_times = probe(uneven)[0], probe(saved)[0]
        self.assertGreater(len({round(b - a, 2) for a, b in zip(times, times[1:])}), 1)
        self.assertEqual(len(saved_times), len(times))
        for ours, theirs in zip(saved_times, times):
            self.assertAlmostEqual(ours, theirs, delta=0.0015)

    def test_some_frames_only(self):
        video = self.make_video("a.mp4", 2, 10)
        lines, saved = self.folder / "out.jsonl", self.folder / "out.mp4"
        self.check(run(video, "--jsonl", lines, "--every", "3", "--save", saved))
        self.assertEqual([r["frame"] for r in self.lines(lines)], list(range(0, 20, 3)))
        self.assertEqual(len(probe(saved)[0]), 20)
        self.check(run(video, "--jsonl", lines, "--max-fps", "4"))
        self.assertIn(len(self.lines(lines)), (8, 9))

    def test_several_sources_at_once(self):
        videos = [self.make_video(f"{i}.mp4", 0.5 + 0.5 * i, 10) for i in range(3)]
        lines, saved = self.folder / "all.jsonl", self.folder / "saved"
        self.check(run(*videos, "--jsonl", lines, "--save", saved))
        results = self.lines(lines)
        for i, video in enumerate(videos):
            alone = self.folder / "alone.jsonl"
            self.check(run(video, "--jsonl", alone))
            mine = [r for r in results if r["source"] == str(video)]
            self.assertEqual(mine, self.lines(alone))
            self.assertEqual(len(probe(saved / f"{i}.mp4")[0]), len(mine))

    def test_one_box_a_place(self):
        video, lines = self.make_video("a.mp4", 0.2, 10), self.folder / "out.jsonl"

        def largest_overlap(*options):
            self.check(run(video, "--jsonl", lines, "--min-score", "0.01", *options))
            largest = 0
            for result in self.lines(lines):
                boxes = [d["box"] for d in result["detections"]]
                for i, a in enumerate(boxes):
                    for b in boxes[:i]:
                        width, height = (max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
                        areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
                        largest = max(largest, width * height / (areas - width * height))
            return largest

        # Boxes are written with a decimal: a little less or more than what was compared.
        self.assertGreater(largest_overlap("--same-place", "1"), 0.9)
        self.assertLess(largest_overlap(), 0.87)
        self.assertLess(largest_overlap("--same-place", "0.5"), 0.52)

    def test_numbered_pictures(self):
        video = self.make_video("a.mp4", 0.5, 10)
        subprocess.run(ffmpeg("-i", video, self.folder / "frame_%03d.png"), check=True)
        lines = self.folder / "out.jsonl"
        self.check(run(self.folder / "frame_%03d.png", "--jsonl", lines))
        self.assertEqual(len(self.lines(lines)), 5)

    def test_tables_labels_and_crops(self):
        video = self.make_video("a.mp4", 0.3, 10)
        lines, csv, coco, yolo, crops = (self.folder / n for n in ("o.jsonl", "o.csv", "o.json", "labels", "crops"))
        self.check(run(video, "--jsonl", lines, "--csv", csv, "--coco", coco, "--yolo", yolo, "--crops", crops,
                       "--min-score", "0.5"))
        objects = [len(r["detections"]) for r in self.lines(lines)]
        self.assertEqual(len(csv.read_text().splitlines()), 1 + sum(objects))
        self.assertEqual([d["image_id"] for d in json.loads(coco.read_text())],
                         [i for i, count in enumerate(objects) for _ in range(count)])
        for i, count in enumerate(objects):
            self.assertEqual(len((yolo / f"a_{i:06}.txt").read_text().splitlines()), count)
        self.assertEqual(len(list(crops.glob("*/*.jpg"))), sum(objects))

    def test_standard_output(self):
        video = self.make_video("a.mp4", 0.3, 10)
        result = self.check(run(video, "--jsonl", "-"))
        self.assertEqual([json.loads(line)["frame"] for line in result.stdout.splitlines()], [0, 1, 2])

    def test_interrupt_finishes_the_files(self):
        video = self.make_video("long.mp4", 60, 10)
        saved, lines = self.folder / "out.mp4", self.folder / "out.jsonl"
        process = self.start(video, "--save", saved, "--jsonl", lines)
        self.wait_for(lambda: lines.exists() and len(lines.read_text().splitlines()) >= 5, "no results", process)
        self.finish(process)
        results = self.lines(lines)
        self.assertLess(len(results), 600)
        self.assertEqual(len(probe(saved)[0]), len(results))

    def test_a_kill_leaves_what_was_finished(self):
        video = self.make_video("long.mp4", 60, 5)
        for name in ["out.mp4", "out.mkv"]:
            with self.subTest(name=name):
                saved, lines = self.folder / name, self.folder / "out.jsonl"
                process = self.start(video, "--save", saved, "--jsonl", lines)
                # A fragment is a second, and the encoder looks ten frames ahead.
                self.wait_for(lambda: lines.exists() and len(lines.read_text().splitlines()) >= 30, "no results", process)
                process.kill()
                process.wait()
                text = lines.read_text()
                whole = [json.loads(line) for line in text.splitlines()[: text.count("\n")]]
                frames = len(probe(saved)[0])
                self.assertGreaterEqual(frames, 10)
                self.assertLessEqual(frames, len(whole) + 4)
                lines.unlink()

    def test_a_broken_frame_is_counted_and_the_rest_processed(self):
        video, lines = self.make_video("a.mkv", 6, 10, "320x240", "-g", "10"), self.folder / "out.jsonl"
        whole = bytearray(video.read_bytes())
        middle = len(whole) // 2
        whole[middle : middle + 12] = b"\xff" * 12
        video.write_bytes(whole)
        result = self.check(run(video, "--jsonl", lines))
        broken = re.search(r"(\d+) broken", result.stderr)
        self.assertTrue(broken, result.stderr)
        frames = [r["frame"] for r in self.lines(lines)]
        self.assertEqual(frames, list(range(len(frames))))
        self.assertGreaterEqual(len(frames), 40)
        self.assertLessEqual(len(frames) + int(broken[1]), 60)

    def test_truth(self):
        video = self.make_video("a.mp4", 0.5, 10)
        truth = self.folder / "truth.csv"
        truth.write_text("frame,label,x,y,width,height\n" + "".join(f"{i},CELL,10,10,20,20\n" for i in range(5)))
        self.assertRegex(self.check(run(video, "--truth", truth)).stderr, r"MOTA -?\d+\.\d+ +IDF1 \d\.\d+ .*5 truths")
        truth.write_text("frame,label,x,y,width\n0,CELL,1,2,3\n")
        self.assertIn("truth.csv: line 1: has no column 'height'", self.check(run(video, "--truth", truth), 2).stderr)
        truth.write_text("frame,label,x,y,width,height\n0,CELL,1,2,3,x\n")
        self.assertIn("truth.csv: line 2: height 'x' is no number", self.check(run(video, "--truth", truth), 2).stderr)

    def test_what_cannot_be_done_is_said_in_a_line(self):
        text = self.folder / "text.mp4"
        text.write_text("no video")
        video = self.make_video("a.mp4", 0.2, 10)
        for arguments, wanted in [
            ([self.folder / "none.mp4"], "none.mp4: No such file"),
            ([text], "text.mp4: is no video"),
            ([f"tcp://127.0.0.1:{free_port()}"], "Connection refused"),
            ([video, "--save", self.folder / "a.avi"], ".mp4, .mov or .mkv"),
            ([video, "--save", video], "would be overwritten"),
            ([video, "--save", self.folder / "none" / "a.mp4"], "No such file"),
            ([video, video, "--truth", text], "one source"),
            ([video, "--every", "0"], "--every"),
            ([video, "--device", "cpu", "--decoder", "nvdec"], "--decoder nvdec: the detector runs on the CPU"),
        ]:
            with self.subTest(arguments=arguments):
                result = self.check(run(*arguments), 2)
                self.assertRegex(result.stderr, r"^vistazo: [^\n]+\n$")
                self.assertIn(wanted, result.stderr)


class StreamTest(VideoTest):
    def serve(self, video, port):
        return self.start_server(ffmpeg("-re", "-stream_loop", "-1", "-i", video, "-c", "copy", "-f", "mpegts",
                                        f"tcp://127.0.0.1:{port}?listen=1"))

    def test_a_lost_stream_is_opened_again(self):
        video, port = self.make_video("a.mp4", 4, 10, "160x120", "-g", "5"), free_port()
        lines, saved = self.folder / "out.jsonl", self.folder / "out.mp4"
        server = self.serve(video, port)
        time.sleep(1)
        process = self.start(f"tcp://127.0.0.1:{port}", "--jsonl", lines, "--save", saved, "--timeout", "5")
        results = lambda: lines.read_text().count("\n") if lines.exists() else 0
        self.wait_for(lambda: results() >= 5, "no results", process)
        for _ in range(2):
            server.kill()
            server.wait()
            before = results()
            server = self.serve(video, port)
            self.wait_for(lambda: results() >= before + 5, "no results after a restart", process)
        self.finish(process)
        frames = self.lines(lines)
        times = [f["time_ms"] for f in frames]
        self.assertEqual(times, sorted(times))
        self.assertEqual(sorted({f["frame"] for f in frames}), [f["frame"] for f in frames])
        self.assertEqual(len(probe(saved)[0]), len(frames))

    def test_a_silent_stream_is_given_up_and_opened_again(self):
        video = self.make_video("a.mp4", 1, 10, "160x120", "-g", "5")
        stream = self.folder / "a.ts"
        subprocess.run(ffmpeg("-i", video, "-c", "copy", stream), check=True)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        connections = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.sendall(stream.read_bytes())  # and then nothing, for ever

        threading.Thread(target=serve, daemon=True).start()
        process = self.start(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "1.5")
        self.wait_for(lambda: len(connections) >= 3, "it was not opened again", process)
        self.finish(process)
        for connection in connections:
            connection.close()

    def test_the_newest_frame_wins(self):
        video, port = self.make_video("fast.mp4", 4, 100, "160x120", "-g", "20"), free_port()
        self.serve(video, port)
        time.sleep(1)
        lines = self.folder / "out.jsonl"
        process = self.start(f"tcp://127.0.0.1:{port}", "--jsonl", lines, "--threads", "1")
        self.wait_for(lambda: lines.exists() and lines.read_text().count("\n") >= 20, "no results", process)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_S)
        self.assertRegex(process.stderr.read(), r"\d+ dropped")
        numbers = [f["frame"] for f in self.lines(lines)]
        self.assertEqual(numbers, sorted(numbers))
        self.assertGreater(numbers[-1], len(numbers))  # frames were left out in between

    def test_a_file_behind_a_web_server_is_read_to_its_end(self):
        self.make_video("a.mp4", 1, 10, "160x120", "-movflags", "faststart")
        handler = functools.partial(QuietHandler, directory=self.folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        lines = self.folder / "out.jsonl"
        self.check(run(f"http://127.0.0.1:{server.server_port}/a.mp4", "--jsonl", lines))
        self.assertEqual([r["frame"] for r in self.lines(lines)], list(range(10)))

    @unittest.skipUnless(GSTREAMER_PYTHON, "python3-gi, gir1.2-gst-rtsp-server-1.0 are missing")
    def test_rtsp(self):
        port = free_port()
        arguments = [GSTREAMER_PYTHON, "-c", RTSP_SERVER, str(port)]
        server = self.start_server(arguments)
        time.sleep(2)
        lines = self.folder / "out.jsonl"
        process = self.start(f"rtsp://127.0.0.1:{port}/test", "--jsonl", lines, "--timeout", "5")
        results = lambda: lines.read_text().count("\n") if lines.exists() else 0
        self.wait_for(lambda: results() >= 3, "no results", process)
        server.kill()
        server.wait()
        before = results()
        self.start_server(arguments)
        self.wait_for(lambda: results() >= before + 5, "no results after a restart", process)
        self.finish(process)


def main():
    if any(shutil.which(tool) is None for tool in ("ffmpeg", "ffprobe")):
        print("skipped: ffmpeg or ffprobe is missing")
        sys.exit(77)
    if "configured without" in run("x.mp4").stderr:
        print("skipped: built without FFmpeg's libraries")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])


if __name__ == "__main__":
    main()

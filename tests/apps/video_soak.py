"""Whether hours of video leave memory as it is: python3 video_soak.py PROGRAM MODEL PICTURE [FRAMES]

Runs `vistazo video` over FRAMES (20,000) frames with tracking, JSON lines and an annotated file, and reads its resident
memory on the way. Fails if the largest of the last half is more than 5% above the largest of the tenth before it.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

GROWTH = 1.05


def resident_mebibytes(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def main():
    program, model, picture = sys.argv[1:4]
    frames = int(sys.argv[4]) if len(sys.argv) > 4 else 20_000
    check = subprocess.run([program, "video", "--model", model, "x.mp4"], capture_output=True, text=True)
    if shutil.which("ffmpeg") is None or "this build reads no videos" in check.stderr:
        print("skipped: no ffmpeg, or a build without videos")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        video, lines = f"{folder}/in.mkv", pathlib.Path(folder) / "out.jsonl"
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-loop", "1", "-framerate", "25", "-i", picture, "-frames:v", str(frames),
             "-vf", "scale=288:216,crop=192:144:x='mod(n,96)':y='mod(n,72)'", "-pix_fmt", "yuv420p", "-preset",
             "ultrafast", video], check=True)  # fmt: skip
        process = subprocess.Popen(
            [program, "video", video, "--model", model, "--precision", "f32", "--track", "--min-score", "0.2",
             "--jsonl", lines, "--save", f"{folder}/out.mp4"], stderr=subprocess.PIPE, text=True)  # fmt: skip
        samples = []  # frames done, MiB
        while process.poll() is None:
            time.sleep(0.5)
            if lines.exists() and process.poll() is None:
                with lines.open("rb") as file:
                    done = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
                samples.append((done, resident_mebibytes(process)))
        text = process.stderr.read()
        done = sum(1 for _ in lines.open())
    print(text.strip())
    before = max((m for n, m in samples if 0.4 * frames <= n < 0.5 * frames), default=0.0)
    after = max((m for n, m in samples if n >= 0.5 * frames), default=0.0)
    print(f"{done} frames; resident {before:.1f} MiB in the fifth tenth, at most {after:.1f} MiB after it")
    if process.returncode != 0 or done != frames or before == 0 or after > GROWTH * before:
        sys.exit(1)


if __name__ == "__main__":
    main()

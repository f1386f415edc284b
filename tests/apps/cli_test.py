"""Drives the program as a user does: python3 cli_test.py PROGRAM MODEL IMAGES [TEST..]"""
import functools
import json
import os
import pathlib
import pty
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, MODEL, IMAGES = (os.path.abspath(path) for path in sys.argv[1:4])
IMAGES = pathlib.Path(IMAGES)
SUBCOMMANDS = ["detect", "video", "tile", "eval", "forward", "inspect", "bench", "convert"]


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@functools.cache
def has_image_reader():
    return "without OpenCV" not in run("detect", "--model", MODEL, pathlib.Path(IMAGES) / "rgb.png").stderr


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vistazo cli "))
        self.addCleanup(shutil.rmtree, self.folder)

    def place(self, source, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(IMAGES / source, path)
        return path

    def check(self, result, code):
        self.assertEqual(result.returncode, code, result.stderr + result.stdout)
        return result


class UsageTest(CommandLineTest):
    def test_version_and_help(self):
        self.assertRegex(self.check(run("--version"), 0).stdout, r"^vistazo \d+\.\d+\.\d+\n$")
        self.assertIn("detect", self.check(run("--help"), 0).stdout)
        for subcommand in SUBCOMMANDS:
            text = self.check(run(subcommand, "--help"), 0).stdout
            self.assertIn("Examples:\n  vistazo " + subcommand, text)

    def test_wrong_usage_is_one_line_and_code_2(self):
        for arguments in [[], ["fly"], ["detect"], ["tile"], ["detect", "--no-such-option", "a.png"], ["eval"], ["forward"],
                          ["inspect"], ["bench"], ["bench", "--random-weights"], ["bench", "--model", MODEL, "--size", "3y4"],
                          ["detect", "--device", "abacus", "a.png"], ["detect", "--min-score", "2", "a.png"],
                          ["detect", "--batch", "0", "a.png"], ["detect", "--threads", "-1", "a.png"],
                          ["bench", "--model", MODEL, "--batch", "1,zero"], ["convert"], ["convert", MODEL],
                          ["convert", MODEL, "x", "--dtype", "f8"]]:
            with self.subTest(arguments=arguments):
                result = self.check(run(*arguments), 2)
                self.assertRegex(result.stderr, r"^vistazo: [^\n]+\n$")
                self.assertEqual(result.stdout, "")

    def test_missing_model_is_named(self):
        missing = self.folder / "no such model"
        calls = [["inspect", missing], ["bench", "--model", missing]]
        if has_image_reader():
            calls.append(["detect", "--model", missing, IMAGES / "rgba.png"])
        for call in calls:
            with self.subTest(call=call[0]):
                result = self.check(run(*call), 2)
                self.assertRegex(result.stderr, r"^vistazo: [^\n]+\n$")
                self.assertIn(str(missing), result.stderr)

    @unittest.skipUnless(has_image_reader(), "built without OpenCV")
    def test_default_model_comes_from_the_environment(self):
        environment = dict(os.environ, VISTAZO_MODEL=MODEL)
        self.check(run("detect", IMAGES / "rgba.png", env=environment), 0)
        missing = str(self.folder / "gone")
        result = self.check(run("detect", IMAGES / "rgba.png", env=dict(os.environ, VISTAZO_MODEL=missing)), 2)
        self.assertIn(missing, result.stderr)
        self.assertIn("--model", result.stderr)


@unittest.skipUnless(has_image_reader(), "built without OpenCV")
class DetectTest(CommandLineTest):
    def detect(self, *arguments, code=0, **options):
        return self.check(run("detect", "--model", MODEL, *arguments, **options), code)

    def images(self, *arguments, code=0, **options):
        result = self.detect("--json", "-", *arguments, code=code, **options)
        self.assertTrue(result.stdout.startswith("{"))
        answer = json.loads(result.stdout)  # nothing but JSON
        self.assertEqual(list(answer), ["model", "images"])
        return answer["images"]

    def test_json_has_the_promised_form(self):
        (image,) = self.images("--min-score", "0", "--max-detections", "7", IMAGES / "exif_orientation_6.jpg")
        self.assertEqual(image["path"], str(IMAGES / "exif_orientation_6.jpg"))
        self.assertEqual((image["width"], image["height"]), (36, 48))
        self.assertEqual(len(image["detections"]), 7)
        scores = [detection["score"] for detection in image["detections"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for detection in image["detections"]:
            self.assertEqual(list(detection), ["box", "score", "class_id", "label"])
            x0, y0, x1, y1 = detection["box"]
            self.assertTrue(0 <= x0 <= x1 <= 36 and 0 <= y0 <= y1 <= 48)
            self.assertTrue(0 <= detection["score"] <= 1)
            self.assertIsInstance(detection["class_id"], int)
            self.assertIsInstance(detection["label"], str)

    def test_min_score_and_max_detections(self):
        everything = self.images("--min-score", "0", IMAGES / "rgba.png")[0]["detections"]
        threshold = everything[2]["score"]
        some = self.images("--min-score", threshold - 1e-4, IMAGES / "rgba.png")[0]["detections"]
        self.assertTrue(3 <= len(some) <= len(everything))
        self.assertTrue(all(detection["score"] >= threshold - 1e-4 for detection in some))

    def test_classes_and_their_scores(self):
        label = self.images("--min-score", "0", IMAGES / "rgba.png")[0]["detections"][0]["label"]
        only = self.images("--min-score", f"0.9,{label}=0", "--classes", label.upper(), IMAGES / "rgba.png")
        self.assertGreater(len(only[0]["detections"]), 0)
        self.assertEqual({d["label"] for d in only[0]["detections"]}, {label})
        self.assertIn("unicorn", self.detect("--classes", "unicorn", IMAGES / "rgba.png", code=2).stderr)
        self.assertIn("high", self.detect("--min-score", f"{label}=high", IMAGES / "rgba.png", code=2).stderr)

    def test_tables_labels_and_crops(self):
        at = lambda name: self.folder / name
        inputs = [IMAGES / "rgba.png", IMAGES / "text.jpg", self.place("rgb.jpg", "in/rgba.jpg")]
        self.detect("--min-score", "0", "--max-detections", "3", "--csv", at("a.csv"), "--coco", at("a.json"),
                    "--yolo", at("labels"), "--crops", at("crops"), *inputs, code=1)
        rows = at("a.csv").read_text().splitlines()
        self.assertEqual(rows[0], "image,label,class_id,score,x0,y0,x1,y1")
        self.assertEqual([row.split(",")[0] for row in rows[1:]], [str(inputs[0])] * 3 + [str(inputs[2])] * 3)
        self.assertEqual([d["image_id"] for d in json.loads(at("a.json").read_text())], [1] * 3 + [3] * 3)
        self.assertEqual(sorted(os.listdir(at("labels"))), ["classes.txt", "rgba.txt", "rgba_2.txt"])
        self.assertEqual(len(at("labels/rgba_2.txt").read_text().splitlines()), 3)
        self.assertEqual(len(list(at("crops").glob("*/*.jpg"))), 6)
        self.assertEqual(list(self.folder.rglob("*.partial")), [])

    def test_native_size(self):
        (image,) = self.images("--native", "--min-score", "0", IMAGES / "rgb.jpg")
        self.assertGreater(len(image["detections"]), 0)
        self.detect("--native", "--batch", "2", IMAGES / "rgb.jpg", code=2)

    def test_bad_files_among_good_ones(self):
        inputs = [IMAGES / name for name in ["rgba.png", "text.jpg", "rgb.jpg", "truncated.jpg", "empty.png"]]
        inputs.append(self.folder / "missing.png")
        result = self.detect("--json", self.folder / "out.json", "--batch", "2", *inputs, code=1)
        images = json.loads((self.folder / "out.json").read_text())["images"]
        self.assertEqual([image["path"] for image in images], [str(path) for path in inputs])
        self.assertEqual(["error" in image for image in images], [False, True, False, True, True, True])
        for path, image in zip(inputs, images):
            if "error" in image:
                self.assertEqual(list(image), ["path", "error"])
                self.assertIn(f"vistazo: {path}: {image['error']}\n", result.stderr)
        self.assertIn("vistazo: 4 of 6 inputs failed\n", result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["out.json"])  # no temporary file is left

    def test_folders_patterns_and_odd_names(self):
        names = ["b c.png", "a.PNG", "sub/\u00f1 \u6f22.png", "sub/deep/x[1].png", ".hidden.png"]
        for name in names:
            self.place("rgba.png", name)
        self.place("text.jpg", "notes.txt")
        at = lambda *paths: [str(self.folder / path) for path in paths]
        found = lambda *inputs: [image["path"] for image in self.images(*inputs)]
        self.assertEqual(found(self.folder), at("a.PNG", "b c.png", "sub/deep/x[1].png", "sub/\u00f1 \u6f22.png"))
        self.assertEqual(found(self.folder / "*.*"), at("a.PNG", "b c.png"))
        self.assertEqual(found(self.folder / "**" / "x*"), at("sub/deep/x[1].png"))
        self.assertEqual(found(self.folder / "sub/deep/x[1].png"), at("sub/deep/x[1].png"))
        self.assertEqual(found(self.folder / "sub/?\u0020?.png"), at("sub/\u00f1 \u6f22.png"))
        self.assertEqual([image["path"] for image in self.images("b c.png", "a.PNG", cwd=self.folder)], ["b c.png", "a.PNG"])
        result = self.detect(self.folder / "*.tiff", code=1)
        self.assertIn("no image matches", result.stderr)
        (self.folder / "empty").mkdir()
        self.assertIn("no images", self.detect(self.folder / "empty", code=1).stderr)

    def test_batches_agree(self):
        inputs = [IMAGES / name for name in ["rgba.png", "rgb.jpg", "lzw.tiff", "grey16.png", "palette.png"]]
        one, all_together = self.images("--batch", "1", *inputs), self.images("--batch", "8", *inputs)
        self.assertEqual([len(i["detections"]) for i in one], [len(i["detections"]) for i in all_together])

    def test_table_and_silence_in_a_pipe(self):
        result = self.detect(IMAGES / "rgba.png", IMAGES / "rgb.jpg")
        self.assertEqual(len(result.stdout.splitlines()), 3)
        self.assertIn("48x36", result.stdout)
        self.assertEqual(result.stderr, "")  # no progress bar

    def test_progress_bar_on_a_terminal(self):
        terminal, other_end = pty.openpty()
        command = [PROGRAM, "detect", "--model", MODEL, "--json", self.folder / "o.json", IMAGES / "rgba.png"]
        process = subprocess.Popen(list(map(str, command)), stderr=other_end, stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=300)
        os.close(other_end)
        text = os.read(terminal, 10000).decode()
        os.close(terminal)
        self.assertEqual(process.returncode, 0)
        self.assertIn("1/1", text)
        self.assertEqual(output, b"")

    def test_annotated_pictures_never_overwrite_each_other(self):
        inputs = [self.place("rgba.png", "a/x.png"), self.place("rgb.jpg", "b/x.jpg"), self.place("rgba.png", "c/x.png")]
        before = [path.read_bytes() for path in inputs]
        self.detect("--save", self.folder / "new/out", *inputs)
        self.assertEqual(sorted(os.listdir(self.folder / "new/out")), ["x.jpg", "x.png", "x_2.png"])
        self.detect("--save", self.folder / "a", *inputs)  # into the folder of an input
        self.assertEqual([path.read_bytes() for path in inputs], before)
        self.assertEqual(sorted(os.listdir(self.folder / "a")), ["x.jpg", "x.png", "x_2.png", "x_3.png"])

    def test_outputs_that_cannot_be_written(self):
        self.detect("--json", self.folder / "no/such/folder/o.json", IMAGES / "rgba.png", code=2)
        if os.path.exists("/dev/full"):
            for arguments in [[], ["--json", "-"], ["--json", "/dev/full"]]:
                with open("/dev/full", "w") as full:
                    process = subprocess.run([PROGRAM, "detect", "--model", MODEL, *arguments, IMAGES / "rgba.png"],
                                             stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
                self.assertEqual(process.returncode, 2)
                self.assertRegex(process.stderr, r"^vistazo: [^\n]+\n$")
        file = self.place("rgba.png", "file")
        self.detect("--save", file / "sub", IMAGES / "rgba.png", code=2)


@unittest.skipUnless(has_image_reader(), "built without OpenCV")
class TileTest(CommandLineTest):
    SCAN = ["--window", "16", "--min-score", "0", "--max-detections", "3"]

    def tile(self, *arguments, code=0, **options):
        return self.check(run("tile", "--model", MODEL, *self.SCAN, *arguments, **options), code)

    def lines(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    def qupath_features(self, path):
        """Of a GeoJSON file, each as QuPath wants it: a closed ring, a name, a colour of three bytes, numbers."""
        collection = json.loads(path.read_text())
        self.assertEqual(sorted(collection), ["features", "type"])
        self.assertEqual(collection["type"], "FeatureCollection")
        labels = json.loads(run("inspect", MODEL, "--json", "-").stdout)["classes"]
        for feature in collection["features"]:
            self.assertEqual(sorted(feature), ["geometry", "properties", "type"])
            self.assertEqual((feature["type"], feature["geometry"]["type"]), ("Feature", "Polygon"))
            (ring,) = feature["geometry"]["coordinates"]
            self.assertEqual(ring[0], ring[-1])
            (x0, y0), (x1, _), (_, y1) = ring[0], ring[1], ring[2]
            self.assertEqual(ring[:4], [[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            self.assertTrue(x0 < x1 and y0 < y1)
            properties = feature["properties"]
            self.assertEqual(sorted(properties), ["classification", "measurements", "objectType"])
            self.assertEqual(properties["objectType"], "detection")
            self.assertIn(properties["classification"]["name"], labels)
            colour = properties["classification"]["color"]
            self.assertEqual(len(colour), 3)
            self.assertTrue(all(isinstance(c, int) and 0 <= c <= 255 for c in colour))
            self.assertEqual(list(properties["measurements"]), ["score"])
            self.assertTrue(0 <= properties["measurements"]["score"] <= 1)
        return collection["features"]

    def test_all_outputs(self):
        at = lambda name: self.folder / name
        scan = self.place("lzw.tiff", "scan.tiff")
        result = self.tile(scan, "--json", at("o.jsonl"), "--geojson", at("o.geojson"), "--csv", at("o.csv"), "--coco",
                           at("o.json"), "--yolo", at("labels"), "--crops", at("crops"), "--save", at("density.jpg"))
        self.assertIn("48 x 36 pixels, TIFF", result.stdout)
        self.assertIn("megapixels/s", result.stdout)
        request, *rest, end = self.lines(at("o.jsonl"))
        windows, objects = [l for l in rest if "window" in l], [l for l in rest if "box" in l]
        self.assertEqual(request["window"], 16)
        self.assertEqual([l["window"] for l in windows], list(range(len(windows))))
        self.assertEqual(end, {"windows": len(windows), "objects": len(objects)})
        self.assertGreater(len(objects), 0)
        features = self.qupath_features(at("o.geojson"))
        self.assertEqual([f["geometry"]["coordinates"][0][0] for f in features], [o["box"][:2] for o in objects])
        self.assertEqual(len(at("o.csv").read_text().splitlines()), 1 + len(objects))
        self.assertEqual(len(json.loads(at("o.json").read_text())), len(objects))
        self.assertEqual(len(at("labels/scan.txt").read_text().splitlines()), len(objects))
        self.assertEqual(len(list(at("crops").glob("*/*.jpg"))), len(objects))
        self.assertGreater(at("density.jpg").stat().st_size, 1000)
        self.assertEqual(list(self.folder.rglob("*.partial")), [])

    def test_batch_and_threads_do_not_matter(self):
        outputs = set()
        for batch, threads in [(1, 1), (3, 2), (64, 1)]:
            outputs.add(self.tile(IMAGES / "lzw.tiff", "--json", "-", "--batch", batch, "--threads", threads).stdout)
        self.assertEqual(len(outputs), 1)

    def test_an_interrupted_run_is_resumed_and_ends_the_same(self):
        path, partial = self.folder / "o.jsonl", self.folder / "o.jsonl.partial"
        scan = IMAGES / "lzw.tiff"
        self.tile(scan, "--json", path)
        whole = path.read_text()
        lines = whole.splitlines(keepends=True)
        for kept in [1, 2, len(lines) // 2, len(lines) - 1]:
            with self.subTest(kept=kept):
                path.unlink(missing_ok=True)
                partial.write_text("".join(lines[:kept]) + lines[kept][:9])  # a torn line
                self.assertIn("--resume", self.tile(scan, "--json", path, code=2).stderr)
                self.assertIn("0.5", self.tile(scan, "--json", path, "--resume", "--overlap", "0.5", code=2).stderr)
                self.tile(scan, "--json", path, "--resume", "--csv", self.folder / "o.csv")
                self.assertEqual(path.read_text(), whole)
                self.assertEqual(len((self.folder / "o.csv").read_text().splitlines()),
                                 1 + sum(line.startswith('{"box"') for line in lines))
        partial.write_text("something else\n")
        self.tile(scan, "--json", path, "--resume", code=2)

    def test_scans_that_cannot_be_read(self):
        for name in ["truncated.tiff", "text.jpg", "empty.png", "missing.svs"]:
            result = self.tile(IMAGES / name, code=2)
            self.assertRegex(result.stderr, rf"^vistazo: [^\n]*{name}: [^\n]+\n$")
        self.tile(IMAGES / "lzw.tiff", "--window", "0", code=2)
        self.tile(IMAGES / "lzw.tiff", "--iou", "0.5", "--ios", "0.5", code=2)


@unittest.skipUnless(has_image_reader(), "built without OpenCV")
class EvalTest(CommandLineTest):
    def annotations(self, files, categories):
        path = self.folder / "annotations.json"
        path.write_text(json.dumps({
            "images": [{"id": i, "file_name": name} for i, name in enumerate(files)],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(categories)],
            "annotations": [{"id": i + 1, "image_id": i, "category_id": 1, "bbox": [4, 4, 30, 30], "area": 900,
                             "iscrowd": 0} for i in range(len(files))]}))
        return path

    def labels(self):
        return json.loads(run("inspect", MODEL, "--json", "-").stdout)["classes"]

    def test_json_keys(self):
        labels = self.labels()
        annotations = self.annotations(["rgba.png", "rgb.jpg"], [labels[0].upper(), labels[-1]])
        result = self.check(run("eval", "--model", MODEL, "--images", IMAGES, "--annotations", annotations,
                                "--json", "-"), 0)
        metrics = json.loads(result.stdout)
        for key in ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR"]:
            self.assertTrue(metrics[key] == -1 or 0 <= metrics[key] <= 1)
        self.assertEqual(metrics["images"], 2)
        self.assertEqual(metrics["APl"], -1)
        self.assertEqual(metrics["unmatched_categories"], [])
        self.assertEqual(list(metrics["per_class"]), [labels[0].upper(), labels[-1]])
        self.assertEqual(metrics["per_class"][labels[0].upper()]["truths"], 2)
        self.assertEqual(metrics["per_class"][labels[-1]], {"AP": -1.0, "AP50": -1.0, "AR": -1.0, "truths": 0})

    def test_missing_images_and_unknown_categories(self):
        annotations = self.annotations(["rgba.png", "gone.png"], [self.labels()[0], "unicorn"])
        result = self.check(run("eval", "--model", MODEL, "--images", IMAGES, "--annotations", annotations,
                                "--json", self.folder / "m.json"), 1)
        self.assertIn("unicorn", result.stderr)
        self.assertIn("gone.png: no such file", result.stderr)
        metrics = json.loads((self.folder / "m.json").read_text())
        self.assertEqual((metrics["images"], metrics["unmatched_categories"]), (1, ["unicorn"]))

    def test_bad_annotations(self):
        path = self.folder / "bad.json"
        path.write_text("{\"images\": 3}")
        result = self.check(run("eval", "--model", MODEL, "--images", IMAGES, "--annotations", path), 2)
        self.assertRegex(result.stderr, r"^vistazo: .*bad\.json[^\n]+\n$")


class ModelTest(CommandLineTest):
    def test_inspect(self):
        text = self.check(run("inspect", MODEL), 0).stdout
        self.assertIn("parameters", text)
        self.assertNotIn("\n\n", text)
        model = json.loads(self.check(run("inspect", MODEL, "--json", "-", "--tensors"), 0).stdout)
        self.assertGreater(len(model["tensors"]), 0)
        self.assertEqual(list(model["tensors"][0]), ["name", "dtype", "shape"])
        self.assertGreater(model["parameters"], 0)
        self.assertGreater(model["cost"]["flops"], 0)

    def test_scratch_grows_with_the_tokens_and_not_with_their_square(self):
        def cost(size):
            return json.loads(self.check(run("inspect", MODEL, "--size", size, "--json", "-"), 0).stdout)["cost"]
        scratch = [cost(f"{side}x{side}")["peak_scratch_bytes"] for side in (1024, 2048, 4096)]
        for small, large in zip(scratch, scratch[1:]):
            self.assertLess(large, 4.05 * small)
        photo = cost("2272x4000")  # 4000 x 2250 pixels, padded
        self.assertLess(photo["peak_scratch_bytes"] + photo["weight_bytes"], 1 << 30)

    def test_bench(self):
        result = self.check(run("bench", "--model", MODEL, "--batch", "1,2", "--seconds", "0", "--warmup", "0",
                                "--json", "-", "--device", "cpu"), 0)
        results = json.loads(result.stdout)["results"]
        self.assertEqual([entry["batch"] for entry in results], [1, 2])
        for entry in results:
            for key in ["median_ms", "p10_ms", "p90_ms", "images_per_second", "gflops", "peak_scratch_bytes",
                        "resident_bytes", "height", "width"]:
                self.assertGreater(entry[key], 0, key)
            self.assertIn(entry["precision"], ["f32", "bf16", "f16"])
        result = self.check(run("bench", "--model", MODEL, "--seconds", "0", "--warmup", "0", "--json", "-", "--device",
                                "cpu", "--profile", "--stages", "30x40"), 0)
        entry = json.loads(result.stdout)["results"][0]
        self.assertEqual(list(entry["stages"]), ["prepare_ms", "model_ms", "finish_ms"])
        self.assertIn("attention", {operation["name"] for operation in entry["operations"]})
        for operation in entry["operations"]:
            self.assertGreater(operation["microseconds"], 0, operation["name"])
        self.check(run("bench", "--model", MODEL, "--stages", "3y4"), 2)
        config = pathlib.Path(MODEL) / "config.json"
        self.check(run("bench", "--config", config, "--random-weights", "--seconds", "0", "--warmup", "0"), 0)

    def test_forward(self):
        header = {"pixel_values": {"dtype": "F32", "shape": [1, 3, 512, 512], "data_offsets": [0, 4 * 3 * 512 * 512]}}
        self.write_tensors("in.safetensors", header, bytes(4 * 3 * 512 * 512))
        self.check(run("forward", "--model", MODEL, "--input", self.folder / "in.safetensors", "--output",
                       self.folder / "out.safetensors"), 0)
        tensors = self.read_header("out.safetensors")
        self.assertEqual(tensors["logits"]["shape"][:1] + tensors["pred_boxes"]["shape"][::2], [1, 1, 4])

    def test_forward_refuses_other_tensors(self):
        header = {"pixels": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        self.write_tensors("other.safetensors", header, bytes(4))
        result = self.check(run("forward", "--model", MODEL, "--input", self.folder / "other.safetensors", "--output",
                                self.folder / "out.safetensors"), 2)
        self.assertIn("pixel_values", result.stderr)
        self.assertFalse((self.folder / "out.safetensors").exists())

    def test_labels(self):
        classes = json.loads(self.check(run("inspect", MODEL, "--json", "-"), 0).stdout)["classes"]
        names = self.folder / "names.txt"
        names.write_text("".join(f"thing {i}\n" for i in range(len(classes))))
        found = json.loads(self.check(run("inspect", MODEL, "--labels", names, "--json", "-"), 0).stdout)["classes"]
        self.assertEqual(found, [f"thing {i}" for i in range(len(classes))])
        names.write_text("one too few")
        self.assertIn("1 class names are given", self.check(run("inspect", MODEL, "--labels", names), 2).stderr)
        self.check(run("inspect", MODEL, "--labels", self.folder / "none.txt"), 2)

    def test_convert(self):
        target = self.folder / "half"
        self.check(run("convert", MODEL, target, "--dtype", "f16"), 0)
        self.assertEqual(sorted(p.name for p in target.iterdir()),
                         ["config.json", "model.safetensors", "preprocessor_config.json"])
        types = {entry["dtype"] for entry in self.read_header(target / "model.safetensors").values()}
        self.assertEqual(types, {"F16"})
        before, after = (json.loads(self.check(run("inspect", model, "--json", "-"), 0).stdout) for model in
                         (MODEL, target))
        for key in ("family", "classes", "input_height", "input_width", "queries", "parameters", "cost"):
            self.assertEqual(before[key], after[key])
        self.assertIn("already has", self.check(run("convert", MODEL, target), 2).stderr)
        self.assertIn("--arch", self.check(run("inspect", target / "model.safetensors", "--arch", "none"), 2).stderr)

    def test_a_file_that_is_no_checkpoint(self):
        evil = self.folder / "evil.pth"
        evil.write_bytes(b"\x80\x02cos\nsystem\nX\x0a\0\0\0echo pwned\x85R.")
        result = self.check(run("inspect", evil), 2)
        self.assertRegex(result.stderr, r'^vistazo: [^\n]+ refers to "system" of "os"[^\n]+\n$')
        self.assertEqual(result.stdout, "")

    def write_tensors(self, name, header, data):
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (self.folder / name).write_bytes(len(text).to_bytes(8, "little") + text + data)

    def read_header(self, name):
        data = (self.folder / name).read_bytes()
        return json.loads(data[8:8 + int.from_bytes(data[:8], "little")])


if __name__ == "__main__":
    if not os.path.exists(MODEL):
        print(f"skipped: there is no model {MODEL}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])

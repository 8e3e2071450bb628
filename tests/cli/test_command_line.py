import errno
import re
import signal
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning_fabric.utilities.exceptions import MisconfigurationException

from hypercolumns.cli.messages import error_line
from hypercolumns.cli.paths import quote_paths
from hypercolumns.errors import HypercolumnsError

NAMES = [
    "plain.jpg",
    "~/with space",
    "a=b,c&d.png",
    "[brackets] {braces}",
    "quote's",
    'double "quotes"',
    "back\\slash",
    "ends in \\",
    "both\\'",
    "${interpolation}",
    "%odd#!:@",
    "ünïcode",
    " leading",
    "null.jpg",
]


def parse(argument):
    override = OverridesParser.create().parse_overrides([argument])[0]
    return override.key_or_group, override.value()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["images", "data.root", "cnn.weights"])
def test_any_file_name_can_be_typed(name, key):
    from omegaconf import OmegaConf

    parsed_key, value = parse(quote_paths([f"{key}={name}"])[0])
    assert parsed_key == key
    config = OmegaConf.create({})
    OmegaConf.update(config, "x", str(value))
    assert config.x == name


@pytest.mark.parametrize(
    "argument", ["cnn.weights=null", "images='a b'", 'images="a b"', "images=[a,b]", "seed=1", "-m"]
)
def test_other_arguments_stay_unquoted(argument):
    assert quote_paths([argument]) == [argument]


def test_path_sweep_is_quoted_only_if_file_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", "cnn.weights=a.pth,b.pth"]
    assert quote_paths(arguments) == arguments
    (tmp_path / "a.pth,b.pth").touch()
    assert quote_paths(arguments) == ["-m", "cnn.weights='a.pth,b.pth'"]


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize(
    "argument",
    [
        "data.group_pattern=(a|b){2,3}",
        "group_pattern=[a-z]",
        "data.image_name={id}",
        "data.mask_name={id}_img.png",
        "data.root=/x/a{1,2}",
        r"group_pattern=a\,b",
        "group_pattern=^([^(]{1,4})$",
    ],
)
def test_one_text_with_brackets_is_quoted(flags, argument):
    name, _, text = argument.partition("=")
    assert parse(quote_paths([*flags, argument])[-1]) == (name, text)


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("data.classes=[a,b],[c,d]", [["a", "b"], ["c", "d"]]),
        ("group_pattern=a.*,b.*", ["a.*", "b.*"]),
        (r"group_pattern=a\(,\d", [r"a\(", r"\d"]),
        ("group_pattern='^(a,b)','c'", ["^(a,b)", "c"]),
        ("cnn.weights=choice(a,b)", ["a", "b"]),
    ],
)
def test_several_values_stay_several_in_sweep(argument, values):
    read = parse(quote_paths(["-m", argument])[-1])[1].list
    assert [getattr(value, "text", value) for value in read] == values


def test_existing_folders_of_a_sweep_are_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a (1)", "b"):
        (tmp_path / name).mkdir()
    assert quote_paths(["-m", "data.root=a (1),b"])[-1] == "data.root='a (1)','b'"


@pytest.mark.parametrize(
    ("argument", "one", "several"),
    [
        ("group_pattern=^([^_]{1,4}),x", "'^([^_]{1,4}),x'", "'^([^_]{1,4})','x'"),
        ("data.image_name={id}_a.png,{id}.png", "'{id}_a.png,{id}.png'", "'{id}_a.png','{id}.png'"),
        ("group_pattern=null,^(.{1,4})", "'null,^(.{1,4})'", "null,'^(.{1,4})'"),
        ("group_pattern=[(],x", "'[(],x'", "'[(]','x'"),
        ("group_pattern=[ab],[cd]", "'[ab],[cd]'", "'[ab]','[cd]'"),
        ("data.root=c (1),d", "'c (1),d'", "'c (1)','d'"),
    ],
)
def test_doubtful_comma_says_how_to_quote(run_script, tmp_path, argument, one, several):
    name = argument.partition("=")[0]
    result = run_script("train.py", "-m", argument, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        f"error: {argument}: in a sweep (-m), a comma separates values, and here the comma may also be a part of one "
        f'value; for one value, give "{name}={one}"; for several values, give "{name}={several}"\n',
    )


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("data.void=a(b", "quote the value, as in \"data.void='a(b'\" (the outer quotes are for the shell)"),
        ("data.void=[a(b,c]", "such as \"data.void=['first value',second]\" (the outer quotes are for the shell)"),
        ("data.map={a:b", "such as \"data.map={1: 'first value', 2: second}\" (the outer quotes are for the shell)"),
        ("optimizer.lr=foo(1)", "or give one of the functions bool, choice, float, glob, int, interval, range, "),
    ],
)
def test_unreadable_value_says_how_to_quote(run_script, tmp_path, argument, remedy):
    result = run_script("train.py", "stage=validate", argument, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {argument} can't be read: quote ")
    assert remedy in result.stderr
    assert result.stderr.count("\n") == 1


def test_words_beside_a_setting_are_named(run_script, tmp_path):
    result = run_script("train.py", "x y=1", cwd=tmp_path)
    line = "x y=1 is not a setting and its value; give name=value, or quote what belongs to the value"
    assert (result.returncode, result.stderr) == (2, f"error: {line}\n")


def test_several_values_need_a_list_or_sweep(run_script, tmp_path):
    result = run_script("train.py", "stage=validate", "data.void=a,b", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        'error: data.void=a,b has several values: for a list, give "data.void=[a,b]"; for one text, give '
        "\"data.void='a,b'\"; to run a job for each value, add -m\n",
    )


def test_bug_has_no_error_line():
    assert error_line(KeyError("x")) is None
    assert error_line(HypercolumnsError("wrong")) == "wrong"


def test_lost_peer_process_has_error_line():
    line = error_line(RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection reset by peer"))
    assert line == "another process of this command has ended; the output of that process says why"


def test_worker_error_is_cut_to_last_line():
    message = (
        "Caught HypercolumnsError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "  File x\nhypercolumns.errors.HypercolumnsError: a.jpg is bad\n"
    )
    assert error_line(HypercolumnsError(message)) == str(HypercolumnsError(message)) == "a.jpg is bad"


def test_message_escapes_control_characters():
    message = str(HypercolumnsError("a\nerror: \x1b[31m\udcff\u202e.jpg is <b>bad</b>, [red]É 日本"))
    assert message == r"a\nerror: \x1b[31m\udcff\u202e.jpg is <b>bad</b>, [red]É 日本"


def test_error_line_escapes_line_breaks():
    assert error_line(HypercolumnsError("model=a\nb\x1b[2J is not a file")) == r"model=a\nb\x1b[2J is not a file"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cnn=squeeze"], "error: cnn=squeeze is not known; did you mean squeezenet1_1? choose one of convnext_tiny, "),
        (["cnn=timm", "data=shapes"], "error: cnn.model is missing: give cnn.model=..."),
        (["stage=eat"], "error: stage=eat is not known; choose one of all, annotate, average, clean, compare,"),
        (
            ["optimiser.lr=1"],
            "error: optimiser is not a setting; did you mean optimizer? the settings of this",
        ),
        (
            ["data=shapes", "data.train_images=many"],
            "error: data.train_images=many must be a whole number of at least 1",
        ),
        (
            ["data=folder", "data.val_fraction=x", "data.images=."],
            "error: data.masks is not set; the data set needs images and masks",
        ),
        (["data=shapes", "data.root=/dev/null"], "error: /dev/null/shapes"),
        (["data=shaps"], "error: data=shaps is not known; did you mean shapes? choose one of"),
        (["trainer=ddpp"], "error: trainer=ddpp is not known; did you mean ddp? choose one of"),
        (["data=shapes", "cnn=rgb", "overwrite=perhaps"], "error: overwrite=perhaps must be true or false"),
        (["data=shapes", "cnn=rgb", "batch_size=abc"], "error: batch_size=abc must be a whole number of at least 1"),
        (["data=shapes", "cnn=rgb", "batch_size=0"], "error: batch_size=0 must be a whole number of at least 1"),
        (["data=shapes", "cnn=rgb", "batch_size="], "error: batch_size= must be a whole number of at least 1"),
        (["data=shapes", "cnn=rgb", "checkpoint_minutes=x"], "error: checkpoint_minutes=x must be a number of at"),
        (
            ["data=shapes", "cnn=rgb", "cnn.name=../../x"],
            "error: cnn.name='../../x' must be a folder name without slashes",
        ),
        (["stage=train", "data=shapes", "cnn=rgb", "optimizer.lr=abc"], "error: optimizer.lr=abc must be a number"),
        (["stage=train", "data=shapes", "cnn=rgb", "optimizer.lr=-1"], "error: optimizer.lr=-1 must be a number"),
        (["data=shapes", "cnn=rgb", "trainer.accelerator=abacus"], "error: invalid trainer settings: "),
        (
            ["data=shapes", "cnn=rgb", "augment=5"],
            "error: augment=5 must be a group of settings; set each by augment.",
        ),
        (
            ["data=shapes", "cnn=rgb", "stage=rank_taps", "rank=x"],
            "error: rank=x must be a group of settings; set each by rank.",
        ),
        (
            ["stage=train", "data=shapes", "cnn=rgb", "callbacks.prediction_panels=5"],
            "error: callbacks.prediction_panels=5 must be a group of settings; set each by "
            "callbacks.prediction_panels.<setting>=<value>, or leave out the callback by ~callbacks.prediction_panels",
        ),
        (
            ["data=shapes", "cnn=rgb", "trainer.log_every_n_steps=x"],
            "error: trainer.log_every_n_steps=x must be a whole",
        ),
        (
            ["data=shapes", "cnn=rgb", "+data.foo=1"],
            "error: invalid data settings: shapes() got an unexpected",
        ),
        (
            ["data=shapes", "cnn=null"],
            "error: a part of the config, such as data or optimizer, must be set to the name of a file (cnn=null)",
        ),
        (["data=shapes", "cnn=rgb", "trainer.devices=abc"], "error: invalid trainer settings: "),
        (["cnn=timm/resnet18"], "error: cnn=timm/resnet18 is not a file in conf/cnn; give cnn=timm cnn.model=resnet18"),
        (
            ["cnn=timm", "cnn.model=timm/resnet18"],
            "error: cnn.model=timm/resnet18: leave out timm/; give cnn.model=res",
        ),
        (
            ["optimizer.lrr=1"],
            "error: optimizer.lrr is not a setting; did you mean optimizer.lr? the settings of optimizer are",
        ),
    ],
)
def test_wrong_setting_prints_one_line_and_exits(run_script, arguments, line, tmp_path):
    """The exit code is 2, and no file is written."""
    result = run_script("train.py", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "seed: !!python/object/apply:os.system ['touch executed']",
            r"error: a config file can't be read \(could not determine .*os\.system' in .*odd\.yaml\", line 2",
        ),
        ("seed: [1\nx: }", r"error: a config file can't be read \(while parsing .*odd\.yaml\", line 3, column 2\)"),
        ("seed: 1\nseed: 2", r"error: a config file can't be read .*found duplicate key seed"),
        ("seed: \xff", r"error: .*odd\.yaml can't be read \('utf-8' codec .*; save it as UTF-8"),
    ],
)
def test_invalid_user_config_is_one_line(run_script, tmp_path, text, line):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    content = f"# @package _global_\n{text}\n".encode("latin-1")
    (tmp_path / "conf" / "experiment" / "odd.yaml").write_bytes(content)
    result = run_script("train.py", f"--config-dir={tmp_path / 'conf'}", "data=shapes", "experiment=odd", cwd=tmp_path)
    assert result.returncode == 2
    assert re.match(line, result.stderr)
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            MemoryError("Unable to allocate 7 GiB"),
            r"out of memory \(Unable to allocate 7 GiB\); lower batch_size, max_window_pixels",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            r"out of memory .*trainer\.precision=bf16-mixed .* halves",
        ),
        (
            RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"),
            r"out of memory .*augment\.crop",
        ),
        (RuntimeError("CUDA error: out of memory"), "out of memory"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            r"a data-loading worker was killed .*; lower num_workers or batch_size, and the same command resumes",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"the disk is full .*the files already written are complete: free",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/x"),
            r"runs/x: Permission denied; make this path accessible",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "runs"),
            r"runs: Read-only file system; make this path accessible, or set",
        ),
    ],
)
def test_machine_limits_have_error_lines(error, line):
    assert re.match(line, error_line(error))


def test_out_of_memory_matches_torchs_message():
    """The error is torch's own, so a change of torch's wording fails here."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert error_line(raised.value).startswith("out of memory (")


def test_unknown_monitor_lists_val_metrics():
    message = (
        "`ModelCheckpoint(monitor='val/iou')` could not find the monitored key in the returned metrics: "
        "['train/loss', 'val/loss', 'val/miou']. HINT: Did you call `log('val/iou', value)`"
    )
    expected = "monitor=val/iou is not a metric of this training; choose one of val/loss, val/miou"
    assert error_line(MisconfigurationException(message)) == expected


def test_missing_data_names_the_searched_folder(run_script, tmp_path):
    result = run_script("train.py", "cnn.weights=null", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "the folder data/VOCdevkit/VOC2012 does not exist" in result.stderr
    assert "data.download=true" in result.stderr
    assert "data=shapes" in result.stderr


@pytest.mark.parametrize(
    ("script", "words"),
    [("train.py", "stage: all, annotate, average, clean, compare, evaluate"), ("predict.py", "predict.py model=")],
)
def test_help_prints_stages_and_usage(run_script, script, words, tmp_path):
    result = run_script(script, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert words in result.stdout
    assert not list(tmp_path.iterdir())


def test_predict_without_model_exits_with_code_2(tmp_path):
    """The script runs in a subprocess, as a user would run it."""
    command = [sys.executable, str(ROOT / "predict.py"), "images=x.jpg"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: model is missing: give model=...\n"


def test_unknown_user_in_path_is_no_error_here():
    """The code that opens the path reports the unknown user."""
    assert quote_paths(["-m", "images=~nosuchuser/b"]) == ["-m", "images='~nosuchuser/b'"]


def test_bug_keeps_its_traceback(run_script, tmp_path, monkeypatch):
    monkeypatch.setattr("hypercolumns.stages.stage_function", {"verify": lambda cfg: 1 / 0}.get)
    with pytest.raises(ZeroDivisionError):
        run_script("train.py", "stage=verify", "data=shapes", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["stage=validate"], "interrupted; the same command starts over"),
        (["stage=extract"], "interrupted; the same command resumes from here"),
        (["stage=extract", "overwrite=True"], "interrupted; the same command without overwrite resumes from here"),
    ],
)
def test_interruption_says_what_same_command_does(run_script, tmp_path, monkeypatch, arguments, line):
    def interrupted(cfg):
        raise KeyboardInterrupt(signal.SIGTERM)

    monkeypatch.setattr("hypercolumns.stages.stage_function", {"validate": interrupted, "extract": interrupted}.get)
    result = run_script("train.py", *arguments, "data=shapes", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (128 + signal.SIGTERM, f"{line}\n")

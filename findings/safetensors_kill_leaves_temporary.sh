#!/usr/bin/env bash
# safetensors 0.8.0: a process that is killed within save_file leaves a hidden file of a random name.
#
# save_file(tensors, "model.safetensors") does not write to model.safetensors. It writes to `.tmp` and six random
# characters in the same folder, and renames that at the end. A kill leaves this file, as large as what was written; a
# later save_file does not remove it, and its name does not tell whose it was. Code that writes to a temporary name of
# its own and looks for that afterwards does not find it. The same in a folder of one's own can be removed as a whole.
#
# Output seen (the six characters differ):
#   while writing:        ['.tmp??????']
#   after the kill:       ['.tmp??????']
#   after another save:   ['.tmp??????', 'model.safetensors']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.3.5

cat > "$work/save.py" <<'PY'
import sys

import numpy
from safetensors.numpy import save_file

save_file({"weight": numpy.zeros(int(sys.argv[2]), numpy.float32)}, sys.argv[1])
PY

cat > "$work/watch.py" <<'PY'
import os
import re
import subprocess
import sys
import tempfile

SHOWN = re.compile(r"\.tmp\w{6}")
folder = tempfile.mkdtemp(dir=os.path.dirname(sys.argv[1]))


def save(numbers):
    return subprocess.Popen([sys.executable, sys.argv[1], f"{folder}/model.safetensors", str(numbers)])


def names():
    return sorted(SHOWN.sub(".tmp??????", name) for name in os.listdir(folder))


writing = save(200_000_000)
seen = []
while not seen and writing.poll() is None:
    seen = names()
writing.kill()
writing.wait()
left = names()
assert save(10).wait() == 0
after = names()
print("while writing:       ", seen)
print("after the kill:      ", left)
print("after another save:  ", after)
if (seen, left, after) != ([".tmp??????"], [".tmp??????"], [".tmp??????", "model.safetensors"]):
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/watch.py" "$work/save.py"

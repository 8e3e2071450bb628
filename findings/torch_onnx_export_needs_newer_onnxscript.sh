#!/usr/bin/env bash
# torch 2.11.0 with onnxscript 0.5.7: they install together without a complaint, and torch.onnx.export can't be used.
#
# torch imports a module of onnxscript whose name holds a version of torch. torch 2.11 and 2.15 both ask for the module of
# 2.11, which onnxscript has since 0.6.0. torch lists onnxscript nowhere in its requirements, and onnxscript lists no torch,
# so that no resolver keeps the pair apart. The lower bound of onnxscript has to follow that of torch by hand.
#
# Output seen:
#   torch 2.11.0 onnxscript 0.5.7: ModuleNotFoundError: No module named 'onnxscript._framework_apis.torch_2_11'
#   torch 2.11.0 onnxscript 0.6.0: exported
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
install() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }

cat > "$work/export.py" <<'PY'
import contextlib
import io

import onnxscript
import torch

versions = f"torch {torch.__version__.partition('+')[0]} onnxscript {onnxscript.__version__}"
try:
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(torch.nn.Linear(3, 2).eval(), (torch.rand(1, 3),), "model.onnx", dynamo=True)
    print(f"{versions}: exported")
except ModuleNotFoundError as error:
    print(f"{versions}: {type(error).__name__}: {error}")
PY

expect() {
    local seen
    seen=$(cd "$work" && venv/bin/python export.py 2> "$work/log") || { cat "$work/log" >&2; exit 1; }
    printf '%s\n' "$seen"
    test "$seen" = "$1"
}

install torch==2.11.0 onnx==1.20.0 onnxscript==0.5.7
expect "torch 2.11.0 onnxscript 0.5.7: ModuleNotFoundError: No module named 'onnxscript._framework_apis.torch_2_11'"
install onnxscript==0.6.0
expect "torch 2.11.0 onnxscript 0.6.0: exported"

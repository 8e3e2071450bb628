"""Peak memory of the maps of whole images: the estimate of `TappedNetwork.peak_bytes` and the system's figure.

python benchmarks/backbone_memory.py
python benchmarks/backbone_memory.py --cnns vit_b_16 --sizes 448x448
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import arguments, make_backbone, report, size

CNNS = ["timm/test_vit.r160_in1k", "dinov2", "mobilenet_v3_large"]
SIZES = [(800, 800), (1008, 1120), (1500, 1600)]


def main() -> None:
    """Measure each network and size in a new process, and print the table."""
    parser = arguments(
        __doc__, 1, sizes={"type": size, "nargs": "*", "default": SIZES}, cnns={"nargs": "*", "default": CNNS}
    )
    parser.add_argument("--one", type=size, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(_measure(options.cnn, *options.one)))
        return
    rows = []
    for cnn in options.cnns:
        for height, width in options.sizes:
            command = [sys.executable, __file__, "--cnn", cnn, "--threads", str(options.threads)]
            command += ["--one", f"{width}x{height}"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"cnn": cnn, "size": f"{width}x{height}", **json.loads(output)})
    report("maps of one image, fp32", rows, options.json)


def _measure(cnn: str, height: int, width: int) -> dict[str, float]:
    backbone = make_backbone(cnn)
    height, width = backbone.padded_size(height, width)
    with torch.inference_mode():
        backbone.local_maps(torch.rand(1, 3, *backbone.padded_size(64, 64)))  # the first image loads libraries
        start = time.perf_counter()
        estimate = backbone.tapped.peak_bytes(1, height, width)
        seconds = time.perf_counter() - start
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins at the present memory
        before = _status("VmRSS")
        maps = backbone.local_maps(torch.rand(1, 3, height, width))
        peak = _status("VmHWM") - before
        del maps
    return {"estimated GB": estimate / 1e9, "GB": peak / 1e9, "estimate / peak": estimate / peak, "s": seconds}


def _status(name: str) -> int:
    """Return a number of bytes from the status of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()

"""Every backbone: its description, and the time of dense prediction relative to the backbone.

python benchmarks/backbones.py
python benchmarks/backbones.py --cnns sqn timm/resnet18.a1_in1k
"""

import torch
from common import CONF, arguments, difference, make_segmenter, medians, report, size

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import RegularGrid

POINTS = 2000
TIMM = "timm/resnet18.a1_in1k"


def main() -> None:
    """Measure and print the tables."""
    names = sorted(path.stem for path in (CONF / "cnn").glob("*.yaml"))
    cnns = {"nargs": "*", "default": [TIMM if name == "timm" else name for name in names]}
    sizes = {"type": size, "nargs": "*", "default": [(360, 480)]}
    options = arguments(__doc__, 5, cnns=cnns, sizes=sizes).parse_args()
    torch.set_num_threads(options.threads)
    described, timed = [], []
    for cnn in options.cnns:
        segmenter = make_segmenter(cnn)
        described.append({"cnn": cnn, **describe(segmenter.backbone)})
        for height, width in options.sizes:
            figures = measure(segmenter, torch.rand(1, 3, height, width), options.rounds)
            assert figures["difference"] <= 1e-5, f"{cnn}: dense logits differ from the logits at points"
            timed.append({"cnn": cnn, "size": f"{width}x{height}", **figures})
    report("backbones, cut after their last tap; channels and centres (offset, stride) of each tap", described, None)
    report("dense inference against the backbone alone, one image, fp32", timed, options.json)


def describe(backbone: Backbone) -> dict[str, str | float]:
    """Return the properties that the contract test checks, as columns of the table."""
    axes = [tap.axes[1] for tap in backbone.taps]
    centres = [
        f"({axis.offset:g}, {axis.stride:g})" if isinstance(axis, RegularGrid) else "(depends on size)" for axis in axes
    ]
    return {
        "channels": f"{' + '.join(str(tap.channels) for tap in backbone.taps)} = {backbone.channels}",
        "centres": " ".join(centres),
        "min side": backbone.min_side,
        "M parameters": sum(parameter.numel() for parameter in backbone.parameters()) / 1e6,
    }


def measure(segmenter: Segmenter, images: torch.Tensor, rounds: int) -> dict[str, float]:
    """Time dense prediction and the backbone, and compare dense logits with the logits at random points.

    Args:
        segmenter: a segmenter with the backbone.
        images: (1, 3, H, W) in [0, 1].
        rounds: number of timings; the table shows their median.

    Returns:
        The columns of the table.
    """
    points = torch.stack([torch.randint(side, (POINTS,)) for side in images.shape[-2:]], -1)
    with torch.inference_mode():
        seconds = medians(
            {"dense": lambda: segmenter(images), "backbone": lambda: segmenter.backbone(images)},
            rounds,
        )
        dense = segmenter(images)[0][:, points[:, 0], points[:, 1]].T
        off = difference(dense, segmenter.logits_at(images, points[None])[0])
    return {
        "dense ms": seconds["dense"] * 1e3,
        "backbone ms": seconds["backbone"] * 1e3,
        "dense / backbone": seconds["dense"] / seconds["backbone"],
        "difference": off,
    }


if __name__ == "__main__":
    main()

"""Agreement of labels from overlapping windows (`window_overlap`) with those of the whole image, and the time of both.

python benchmarks/window_overlap.py
python benchmarks/window_overlap.py --cnn dinov3 --overlaps 64

The weights are random, and all parameters of layer scales are 1, as small ones would hide what attention does. The
labels of a random classifier change easily, so the agreement should be a lower bound of that of a trained model, which
was not measured. The image is scikit-image's photograph of an astronaut (dependency group `docs`), enlarged.
"""

import time
from typing import Any

import torch
import torch.nn.functional as F
from common import arguments, make_segmenter, report, size
from skimage import data


def main() -> None:
    """Measure and print the table."""
    parser = arguments(
        __doc__,
        1,
        size={"type": size, "default": (658, 658)},
        window={"type": size, "default": (336, 336), "help": "size of a window"},
        overlaps={"type": int, "nargs": "*", "default": [14, 112]},
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    segmenter = make_segmenter(options.cnn)
    for name, values in segmenter.named_parameters():
        if name.endswith(".gamma") and "ls" in name:  # timm's layer scales begin near 0
            torch.nn.init.ones_(values)
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    image = F.interpolate(photo, options.size, mode="bilinear", antialias=True)
    start = time.perf_counter()
    whole = segmenter.labels(image)
    rows: list[dict[str, Any]] = [_row("whole image", time.perf_counter() - start, whole, whole)]
    segmenter.extractor.max_window_pixels = options.window[0] * options.window[1]
    for overlap in options.overlaps:
        segmenter.extractor.set_window_overlap(overlap)
        start = time.perf_counter()
        labels = segmenter.labels(image)
        rows.append(_row(f"{overlap} pixels", time.perf_counter() - start, labels, whole))
    height, width = options.size
    report(f"labels of an image of {width}x{height}, cnn={options.cnn}, random weights", rows, options.json)


def _row(overlap: str, seconds: float, labels: torch.Tensor, whole: torch.Tensor) -> dict[str, Any]:
    agreement = 100 * (labels == whole).double().mean().item()
    return {"overlap": overlap, "s": seconds, "agreement %": agreement, "labels": len(labels.unique())}


if __name__ == "__main__":
    main()

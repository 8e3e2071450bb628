"""Read images by rules, as the reader and the check of the header must agree on."""

import pytest

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.images import image_size, read_image


def read(path, size, **rules):
    """Read an image as (H, W, 3), and check that its header gives the (height, width) `size`."""
    decoding = ImageDecoding(**rules)
    assert image_size(path, None, decoding) == size
    return read_image(path, None, decoding).permute(1, 2, 0).numpy()


def refused(path, **rules):
    """Return the message with which both the reader and the check of the header refuse an image."""
    messages = []
    for check in (read_image, image_size):
        with pytest.raises(HypercolumnsError) as caught:
            check(path, None, ImageDecoding(**rules))
        messages.append(str(caught.value).removeprefix(f"{path} "))
    assert messages[0] == messages[1]
    return messages[0]

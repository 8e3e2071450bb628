"""Names of files as data sets lay them out."""


def images_and_masks(image, mask, names=("1", "2", "3", "4")):
    """Return the paths of images and masks; both patterns have `{}` in place of a name."""
    return [pattern.format(name) for name in names for pattern in (image, mask)]

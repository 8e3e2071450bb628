"""Images with masks: batches shared by ranks, augmentation and the data module."""

import re
from dataclasses import replace

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from hypercolumns.cli.app import error_line
from hypercolumns.coordinates import normalised_coordinates
from hypercolumns.data import Augmentation, Example, ImageDataModule, shapes
from hypercolumns.data.modules.image_data import Filler, ImageBatchSampler, collate
from hypercolumns.data.transforms import GREY, PaddedCrop, resize_mask
from hypercolumns.errors import HypercolumnsError, InvalidFileError
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.runtime import randomness

IMAGE = torch.arange(3 * 20 * 30, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 20, 30)
MASK = IMAGE[0] % 5


@pytest.fixture(scope="module")
def image_set(tmp_path_factory):
    return shapes(tmp_path_factory.mktemp("data"), train_images=5, val_images=3)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_ranks_share_each_step(processes, batch_size):
    order = [4, 2, 0, 6, 1, 3, 5]
    alone = list(ImageBatchSampler(order, batch_size))
    assert alone == [order[start : start + batch_size] for start in range(0, 7, batch_size)]
    shares = [list(ImageBatchSampler(order, batch_size, rank, processes)) for rank in range(processes)]
    for step, parts in zip(alone, zip(*shares, strict=True), strict=True):
        assert [index for part in parts for index in part if not isinstance(index, Filler)] == step
        assert all(part for part in parts)
        assert all(part == [Filler(step[0])] for part in parts if isinstance(part[0], Filler))
    assert list(ImageBatchSampler(order, batch_size, 0, processes, done=1)) == shares[0][1:]
    assert len(ImageBatchSampler(order, batch_size, 0, processes, done=1)) == len(alone)


def test_filler_is_void_and_has_no_id(image_set):
    dataset = ImageDataModule(image_set).dataset("train")
    image, mask, id, _ = dataset[Filler(2)]
    assert torch.equal(image, dataset[2].image)
    assert (mask == IGNORE_INDEX).all()
    assert mask.shape == dataset[2].mask.shape
    assert id == ""


def test_more_ranks_than_val_images_are_refused(image_set):
    data = ImageDataModule(image_set)
    data.trainer = type("Trainer", (), {"current_epoch": 0, "global_rank": 0, "world_size": 4})()
    with pytest.raises(HypercolumnsError, match="4 processes can't share 3 val images; use at most 3"):
        data.val_dataloader()


class TestAugmentation:
    def test_default_changes_nothing(self):
        image, mask, box = Augmentation()(IMAGE, MASK, 0)
        assert image is IMAGE
        assert mask is MASK
        assert box.tolist() == [0, 0, 20, 30]

    def test_same_seed_gives_same_augmentation(self):
        augment = Augmentation((0.5, 2.0), 16, 0.5, 0.3)
        for first, second in zip(augment(IMAGE, MASK, 1), augment(IMAGE, MASK, 1), strict=True):
            assert torch.equal(first, second)
        assert any(not torch.equal(augment(IMAGE, MASK, 1)[0], augment(IMAGE, MASK, seed)[0]) for seed in range(2, 5))

    @pytest.mark.parametrize("settings", [{"crop": 12}, {"flip": 0.5}, {"crop": (8, 40)}])
    def test_image_and_mask_are_moved_together(self, settings):
        for seed in range(5):
            image, mask, _ = Augmentation(**settings)(IMAGE, MASK, seed)
            assert image.shape[1:] == mask.shape
            assert type(mask) is torch.Tensor
            assert torch.equal(torch.where(mask == IGNORE_INDEX, IGNORE_INDEX, image[0] % 5), mask)

    def test_padding_is_void(self):
        image, mask, box = Augmentation(crop=64)(IMAGE, MASK, 0)
        assert mask.shape == (64, 64)
        assert (mask != IGNORE_INDEX).sum() == 20 * 30
        assert (image[:, mask == IGNORE_INDEX] == GREY).all()
        top, left, height, width = box.int().tolist()
        assert (height, width) == (20, 30)
        assert torch.equal(mask[top : top + 20, left : left + 30], MASK)

    @pytest.mark.parametrize("flip", [0.0, 1.0])
    def test_box_gives_coordinates_in_whole_image(self, flip):
        """The coordinates of a crop's pixels point to their labels in the image, mirrored if the crop was flipped."""
        for seed in range(5):
            _, mask, box = Augmentation(scale=(1.5, 1.5), crop=(11, 13), flip=flip)(IMAGE, MASK, seed)
            rows, columns = torch.meshgrid(torch.arange(11), torch.arange(13), indexing="ij")
            y, x = normalised_coordinates(rows, columns, box[None])
            x = 1 - x if flip else x
            assert torch.equal(mask, MASK[(y * 20).long(), (x * 30).long()])

    @pytest.mark.parametrize("size", [(15, 23), (13, 21), (30, 45), (40, 60)])
    def test_resized_mask_is_aligned_with_image(self, size):
        """Both the mask and the image hold the column numbers. After resizing, their mean difference is near 0."""
        mask = torch.arange(30, dtype=torch.uint8).expand(20, 30)
        image = resize(mask[None].float(), list(size), antialias=True)[0]
        shift = resize_mask(mask, size).float() - image
        assert abs(shift[:, 2:-2].mean()) < 0.2

    def test_scale_stays_in_range_and_keeps_labels(self):
        sizes = set()
        for seed in range(20):
            image, mask, _ = Augmentation(scale=(0.5, 2.0))(IMAGE, MASK, seed)
            assert image.shape[1:] == mask.shape
            assert 10 <= mask.shape[0] <= 40
            assert abs(mask.shape[1] / mask.shape[0] - 1.5) < 0.1
            assert set(mask.unique().tolist()) <= set(range(5))
            sizes.add(mask.shape)
        assert len(sizes) > 10

    @pytest.mark.parametrize("setting", ["color_jitter", "grayscale", "gaussian_blur"])
    def test_colour_changes_leave_mask_unchanged(self, setting):
        """Greyscale and blur change half of the images; colour jitter is a strength and changes all of them."""
        augment, changed = Augmentation(**{setting: 0.5}), 0
        for seed in range(40):
            image, mask, box = augment(IMAGE, MASK, seed)
            assert torch.equal(mask, MASK)
            assert box.tolist() == [0, 0, 20, 30]
            changed += not torch.equal(image, IMAGE)
        assert changed == 40 if setting == "color_jitter" else 10 <= changed <= 30

    def test_grayscale_makes_channels_equal(self):
        image, _, _ = Augmentation(grayscale=1.0)(IMAGE, MASK, 0)
        assert image.shape == IMAGE.shape
        assert (image == image[:1]).all()

    def test_blur_lowers_contrast_and_keeps_mean(self):
        image, _, _ = Augmentation(gaussian_blur=1.0)(IMAGE, MASK, 0)
        assert image.float().std() < 0.9 * IMAGE.float().std()
        assert image.float().mean() == pytest.approx(IMAGE.float().mean(), abs=2)

    def test_jitter_of_five_channels_is_computed(self):
        image = torch.arange(5 * 20 * 30, dtype=torch.int64).remainder(200).byte().view(5, 20, 30)
        changed, mask, _ = Augmentation(color_jitter=0.4, channels=5)(image, MASK, 7)
        with randomness.seeded(7, "augmentation"):
            brightness, contrast = (0.6 + 0.8 * torch.rand(2)).tolist()
        brighter = (image.double() * brightness).clamp(max=255)
        expected = brighter.mean() + contrast * (brighter - brighter.mean())
        assert (changed.double() - expected.round().clamp(0, 255)).abs().max() <= 1  # float32 may round otherwise
        assert torch.equal(mask, MASK)

    def test_five_channels_are_scaled_and_blurred(self):
        image = torch.stack([torch.full((20, 30), 40 * band, dtype=torch.uint8) for band in range(5)])
        changes = {"scale": (1.5, 1.5), "crop": (16, 16), "flip": 0.5, "grayscale": 1.0, "gaussian_blur": 1.0}
        changed, _, _ = Augmentation(**changes, channels=5)(image, MASK, 0)
        assert changed.shape == (5, 16, 16)
        assert [band.unique().tolist() for band in changed] == [[0], [40], [80], [120], [160]]

    @pytest.mark.parametrize("setting", ["grayscale", "gaussian_blur"])
    def test_probability_above_one_is_refused(self, setting):
        with pytest.raises(HypercolumnsError, match=rf"^{setting}=2 must be a number from 0 to 1"):
            Augmentation(**{setting: 2})


class TestImageData:
    def test_validation_images_are_whole_and_single(self, image_set):
        data = ImageDataModule(image_set, batch_size=4, resize=(40, 50), augmentation=Augmentation(crop=20))
        batches = list(data.val_dataloader())
        assert [batch.ids for batch in batches] == [[pair.id] for pair in image_set.splits["val"]]
        assert batches[0].images.shape[2:] == batches[0].masks.shape[1:] != (40, 50)
        assert batches[0].images.dtype == torch.uint8
        assert batches[0].images.max() > 1

    def test_training_order_is_seeded_and_complete(self, image_set):
        def ids(seed):
            data = ImageDataModule(image_set, batch_size=2, augmentation=Augmentation(crop=32), seed=seed)
            return [image_id for batch in data.train_dataloader() for image_id in batch.ids]

        assert sorted(ids(0)) == [pair.id for pair in image_set.splits["train"]]
        assert ids(0) == ids(0)
        assert any(ids(0) != ids(seed) for seed in range(1, 6))

    def test_workers_give_same_batches(self, image_set):
        settings = {"batch_size": 2, "augmentation": Augmentation((0.5, 2), 32, 0.5, 0.3)}
        without, with_two = (
            list(ImageDataModule(image_set, num_workers=n, **settings).train_dataloader()) for n in (0, 2)
        )
        for expected, batch in zip(without, with_two, strict=True):
            assert torch.equal(expected.images, batch.images)
            assert torch.equal(expected.masks, batch.masks)

    def test_augmentation_differs_between_epochs(self, image_set):
        dataset = ImageDataModule(image_set).dataset("train")
        dataset.augmentation = Augmentation(crop=32)
        first = dataset[0].image
        dataset.epoch = 1
        assert not torch.equal(dataset[0].image, first)

    def test_resize_ignores_aspect_ratio(self, image_set):
        example = ImageDataModule(image_set, resize=(24, 36)).dataset("train")[0]
        assert example.image.shape == (3, 24, 36)
        assert example.mask.shape == (24, 36)
        assert set(example.mask.unique().tolist()) <= {*range(6), IGNORE_INDEX}

    def test_batch_of_different_sizes_is_refused(self):
        examples = [Example(torch.zeros(3, n, 5), torch.zeros(n, 5).long(), str(n), torch.zeros(4)) for n in (4, 6)]
        with pytest.raises(HypercolumnsError, match=r"different sizes \(5x4, 5x6\) .* crop or resize them"):
            collate(examples)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_mask_of_other_size_is_refused(self, image_set, workers):
        first, second = image_set.splits["train"][:2]
        mixed = replace(image_set, splits={"train": (replace(first, mask=second.mask),)})
        with pytest.raises(InvalidFileError, match=r"must have the same size$") as caught:
            next(iter(ImageDataModule(mixed, num_workers=workers).train_dataloader()))
        line = error_line(caught.value)
        assert re.search(r"must have the same size \(stage=validate .*data\.on_bad=skip", line)


@pytest.mark.parametrize("size", [(5, 300), (300, 5), (40, 40), (96, 96), (200, 150), (1, 1)])
def test_padded_crop_equals_torchvision(size):
    """Images with a side that is shorter than the crop are cut before they are padded."""
    image, mask = torch.randint(256, (3, *size), dtype=torch.uint8), torch.randint(9, size, dtype=torch.uint8)
    edges = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    box = BoundingBoxes(edges, format="XYXY", canvas_size=size, clamping_mode=None)
    reference = v2.RandomCrop(96, pad_if_needed=True, fill={Image: GREY, Mask: IGNORE_INDEX})
    results = []
    for crop in (PaddedCrop(96, pad_if_needed=True), reference):
        torch.manual_seed(0)
        results.append(crop(Image(image), Mask(mask), box))
    assert all(torch.equal(*parts) for parts in zip(*results, strict=True))

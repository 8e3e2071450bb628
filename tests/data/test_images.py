import re
from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2.functional import resize

from hypercolumns.cli.app import error_line
from hypercolumns.coordinates import normalised_coordinates
from hypercolumns.data import Augmentation, Example, ImageDataModule, shapes
from hypercolumns.data.modules.image_data import Filler, ImageBatchSampler, collate
from hypercolumns.data.transforms import GREY, resize_mask
from hypercolumns.errors import HypercolumnsError, InvalidFileError
from hypercolumns.labels import IGNORE_INDEX

IMAGE = torch.arange(3 * 20 * 30, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 20, 30)
MASK = IMAGE[0] % 5


@pytest.fixture(scope="module")
def image_set(tmp_path_factory):
    return shapes(tmp_path_factory.mktemp("data"), train_images=5, val_images=3)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_processes_share_each_step(processes, batch_size):
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


def test_an_image_that_only_fills_a_step_counts_for_nothing(image_set):
    dataset = ImageDataModule(image_set).dataset("train")
    image, mask, id, _ = dataset[Filler(2)]
    assert torch.equal(image, dataset[2].image)
    assert (mask == IGNORE_INDEX).all()
    assert mask.shape == dataset[2].mask.shape
    assert id == ""


def test_more_processes_than_val_images_are_refused(image_set):
    data = ImageDataModule(image_set)
    data.trainer = type("Trainer", (), {"current_epoch": 0, "global_rank": 0, "world_size": 4})()
    with pytest.raises(HypercolumnsError, match="4 processes can't share 3 val images; use at most 3"):
        data.val_dataloader()


class TestAugmentation:
    def test_off_by_default(self):
        image, mask, box = Augmentation()(IMAGE, MASK, 0)
        assert image is IMAGE
        assert mask is MASK
        assert box.tolist() == [0, 0, 20, 30]

    def test_the_seed_decides(self):
        augment = Augmentation((0.5, 2.0), 16, 0.5, 0.3)
        for ours, theirs in zip(augment(IMAGE, MASK, 1), augment(IMAGE, MASK, 1), strict=True):
            assert torch.equal(ours, theirs)
        assert any(not torch.equal(augment(IMAGE, MASK, 1)[0], augment(IMAGE, MASK, seed)[0]) for seed in range(2, 5))

    @pytest.mark.parametrize("settings", [{"crop": 12}, {"flip": 0.5}, {"crop": (8, 40)}])
    def test_image_and_mask_move_alike(self, settings):
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
    def test_the_frame_says_where_the_image_lies_that_a_crop_is_of(self, flip):
        """A pixel is at one place of the image, before and after; of the mirrored image if it was flipped."""
        for seed in range(5):
            _, mask, box = Augmentation(scale=(1.5, 1.5), crop=(11, 13), flip=flip)(IMAGE, MASK, seed)
            rows, columns = torch.meshgrid(torch.arange(11), torch.arange(13), indexing="ij")
            y, x = normalised_coordinates(rows, columns, box[None])
            x = 1 - x if flip else x
            assert torch.equal(mask, MASK[(y * 20).long(), (x * 30).long()])

    @pytest.mark.parametrize("size", [(15, 23), (13, 21), (30, 45), (40, 60)])
    def test_masks_stay_in_line_with_their_image(self, size):
        """A mask that numbers the columns, against an image whose brightness does: no shift on average."""
        mask = torch.arange(30, dtype=torch.uint8).expand(20, 30)
        image = resize(mask[None].float(), list(size), antialias=True)[0]
        shift = resize_mask(mask, size).float() - image
        assert abs(shift[:, 2:-2].mean()) < 0.2

    def test_scale_stays_in_its_range_and_labels_stay_labels(self):
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
    def test_colours_change_with_their_probability_and_the_mask_never(self, setting):
        """Colour jitter always changes them, by a strength."""
        augment, changed = Augmentation(**{setting: 0.5}), 0
        for seed in range(40):
            image, mask, box = augment(IMAGE, MASK, seed)
            assert torch.equal(mask, MASK)
            assert box.tolist() == [0, 0, 20, 30]
            changed += not torch.equal(image, IMAGE)
        assert changed == 40 if setting == "color_jitter" else 10 <= changed <= 30

    def test_grey_is_the_same_in_all_channels(self):
        image, _, _ = Augmentation(grayscale=1.0)(IMAGE, MASK, 0)
        assert image.shape == IMAGE.shape
        assert (image == image[:1]).all()

    def test_blur_lowers_contrast_and_keeps_the_mean(self):
        image, _, _ = Augmentation(gaussian_blur=1.0)(IMAGE, MASK, 0)
        assert image.float().std() < 0.9 * IMAGE.float().std()
        assert image.float().mean() == pytest.approx(IMAGE.float().mean(), abs=2)

    @pytest.mark.parametrize("setting", ["grayscale", "gaussian_blur"])
    def test_a_probability_is_at_most_one(self, setting):
        with pytest.raises(HypercolumnsError, match=rf"^{setting}=2 must be a number from 0 to 1"):
            Augmentation(**{setting: 2})


class TestImageData:
    def test_validation_images_are_whole_and_single(self, image_set):
        data = ImageDataModule(image_set, batch_size=4, resize=(40, 50), augmentation=Augmentation(crop=20))
        batches = list(data.val_dataloader())
        assert [batch.ids for batch in batches] == [[pair.id] for pair in image_set.splits["val"]]
        assert batches[0].images.shape[2:] == batches[0].masks.shape[1:] != (40, 50)
        assert batches[0].images.dtype == torch.float32
        assert 0 <= batches[0].images.min() < batches[0].images.max() <= 1

    def test_training_covers_every_image_once_in_an_order_of_the_seed(self, image_set):
        def ids(seed):
            data = ImageDataModule(image_set, batch_size=2, augmentation=Augmentation(crop=32), seed=seed)
            return [image_id for batch in data.train_dataloader() for image_id in batch.ids]

        assert sorted(ids(0)) == [pair.id for pair in image_set.splits["train"]]
        assert ids(0) == ids(0)
        assert any(ids(0) != ids(seed) for seed in range(1, 6))

    def test_workers_change_nothing(self, image_set):
        settings = {"batch_size": 2, "augmentation": Augmentation((0.5, 2), 32, 0.5, 0.3)}
        alone, helped = (list(ImageDataModule(image_set, num_workers=n, **settings).train_dataloader()) for n in (0, 2))
        for ours, theirs in zip(alone, helped, strict=True):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.masks, theirs.masks)

    def test_epochs_differ(self, image_set):
        dataset = ImageDataModule(image_set).dataset("train")
        dataset.augmentation = Augmentation(crop=32)
        first = dataset[0].image
        dataset.epoch = 1
        assert not torch.equal(dataset[0].image, first)

    def test_resize_squeezes_image_and_mask(self, image_set):
        example = ImageDataModule(image_set, resize=(24, 36)).dataset("train")[0]
        assert example.image.shape == (3, 24, 36)
        assert example.mask.shape == (24, 36)
        assert set(example.mask.unique().tolist()) <= {*range(6), IGNORE_INDEX}

    def test_sizes_that_differ_are_refused_in_one_batch(self):
        examples = [Example(torch.zeros(3, n, 5), torch.zeros(n, 5).long(), str(n), torch.zeros(4)) for n in (4, 6)]
        with pytest.raises(HypercolumnsError, match=r"different sizes \(5x4, 5x6\) .* crop or resize them"):
            collate(examples)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_mask_of_another_size_is_refused(self, image_set, workers):
        first, second = image_set.splits["train"][:2]
        mixed = replace(image_set, splits={"train": (replace(first, mask=second.mask),)})
        with pytest.raises(InvalidFileError, match=r"must have the same size$") as caught:
            next(iter(ImageDataModule(mixed, num_workers=workers).train_dataloader()))
        line = error_line(caught.value)
        assert re.search(r"must have the same size \(stage=validate .*data\.on_bad=skip", line)

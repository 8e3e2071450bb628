import torch

from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.samplers import UncertaintySampler
from hypercolumns.tasks import SegmentationTask, segmentation


def test_sampler_sees_logits_of_current_model(segmenter):
    """An uncertainty sampler gets the logits of each crop without dropout or gradients; the model keeps training."""
    segmenter.classifier = MLPClassifier(224, 3, hidden=8, dropout=0.9)
    images, masks = torch.rand(2, 3, 24, 30), torch.zeros(2, 24, 30, dtype=torch.int64)
    masks[1, :, 2:] = 255
    masks[1, 0, 0] = 2
    boxes = torch.tensor([[0.0, 0, 24, 30], [-10, -20, 80, 90]])
    task = SegmentationTask(
        segmenter.train(), None, None, UncertaintySampler(40, oversample_ratio=100, importance_sample_ratio=1)
    )
    points, labels = task.sample_points(task.sampler, (images, masks, ["a", "b"], boxes))
    assert segmenter.training
    assert all(parameter.grad is None for parameter in segmenter.parameters())
    highest = segmenter.eval()(images, boxes).topk(2, dim=1).values
    margins = (highest[:, 0] - highest[:, 1]).where(masks != 255, torch.inf)
    for margin, sampled in zip(margins, points, strict=True):
        assert len(sampled.unique(dim=0)) == 40
        assert torch.allclose(margin[tuple(sampled.T)].sort().values, margin.flatten().sort().values[:40], atol=1e-5)
    expected = [mask[tuple(sampled.T)] for mask, sampled in zip(masks, points, strict=True)]
    assert torch.equal(labels, torch.stack(expected).flatten())


def test_validation_in_parts_equals_whole(segmenter, monkeypatch):
    images, masks = torch.rand(1, 3, 60, 90), torch.randint(3, (1, 60, 90))
    masks[:, :20] = 255
    results = []
    for limit in (10**9, 0):
        monkeypatch.setattr(segmentation, "MAX_LOGITS", limit)
        task = SegmentationTask(segmenter, None, None, None).eval()
        monkeypatch.setattr(task, "log", lambda *_: None)
        with torch.no_grad():
            labels = task.validation_step((images, masks, ["a"], None), 0)
        results.append((labels, task.confusion.compute(), task.val_loss.compute()))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole)

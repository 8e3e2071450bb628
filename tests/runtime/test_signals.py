import os
import signal

import torch
from torch.utils.data import DataLoader, Dataset

from hypercolumns.runtime import signals


def test_before_anything_is_begun_a_signal_ends_the_process(monkeypatch, capfd):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    signals.exit_on_signal(signal.SIGTERM, None)
    assert codes == [128 + signal.SIGTERM]
    assert capfd.readouterr().err == "interrupted before anything was begun\n"


class Ignored(Dataset):
    """Of the process that is asked: whether it leads a session of its own, and which signals do nothing to it."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        ignored = [signal.getsignal(number) is signal.SIG_IGN for number in signals.STOPPING]
        return torch.tensor([os.getsid(0) == os.getpid(), *ignored])


def test_a_worker_leaves_signals_to_its_parent_which_ends_it():
    (found,) = DataLoader(Ignored(), batch_size=None, num_workers=1, worker_init_fn=signals.ignore_signals_in_worker)
    leads, *ignored = found.tolist()
    assert leads
    assert dict(zip(signals.STOPPING, ignored, strict=True)) == {
        signal.SIGINT: True,
        signal.SIGTERM: False,
        signal.SIGUSR1: True,
    }

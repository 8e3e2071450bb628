import os
import signal

import torch
from torch.utils.data import DataLoader, Dataset

from hypercolumns.runtime import signals


def test_exit_on_signal_exits_with_signal_code(monkeypatch, capfd):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    signals.exit_on_signal(signal.SIGTERM, None)
    assert codes == [128 + signal.SIGTERM]
    assert capfd.readouterr().err == "interrupted before any work was started\n"


class Ignored(Dataset):
    """Report whether the worker process leads its session, and which stop signals it ignores."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        ignored = [signal.getsignal(number) is signal.SIG_IGN for number in signals.STOPPING]
        return torch.tensor([os.getsid(0) == os.getpid(), *ignored])


def test_worker_ignores_signals_except_sigterm():
    (report,) = DataLoader(Ignored(), batch_size=None, num_workers=1, worker_init_fn=signals.ignore_signals_in_worker)
    leads, *ignored = report.tolist()
    assert leads
    assert dict(zip(signals.STOPPING, ignored, strict=True)) == {
        signal.SIGINT: True,
        signal.SIGTERM: False,
        signal.SIGUSR1: True,
    }

"""Loggers with the interfaces of Weights & Biases and MLflow, which record their calls and need neither package."""

from types import SimpleNamespace

from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

CALLS = []  # (method, arguments) of every fake logger, in order


class FakeWandbLogger(WandbLogger):
    """A WandbLogger that records its calls; its project may be `broken`, which has no server."""

    def __init__(self, name, id, save_dir, project="streets"):
        self.identity, self.project = id or "new id", project
        CALLS.append(("wandb", name, id, save_dir))

    @property
    def experiment(self):
        if self.project == "broken":
            raise RuntimeError("no API key\nconfigured")
        return SimpleNamespace(id=self.identity, finish=lambda exit_code: CALLS.append(("finish", exit_code)))

    @property
    def version(self):
        return self.identity

    save_dir = None

    def after_save_checkpoint(self, checkpoint_callback):
        pass

    def log_hyperparams(self, params):
        CALLS.append(("hyperparameters", params))

    def log_metrics(self, metrics, step=None):
        CALLS.append(("metrics", metrics, step))

    def log_image(self, key, images, step=None):
        CALLS.append(("image", key, [image.size for image in images], step))

    def finalize(self, status):
        CALLS.append(("finalize", status))


class FakeMLFlowLogger(MLFlowLogger):
    """An MLFlowLogger that records the pictures that it logs."""

    def __init__(self):
        pass

    run_id = "number 7"

    @property
    def experiment(self):
        def log_image(run_id, image, key, step):
            CALLS.append(("image", run_id, image.size, key, step))

        return SimpleNamespace(log_image=log_image)


class FailingLogger(FakeMLFlowLogger):
    """A logger that can't be built."""

    def __init__(self, **settings):
        raise ModuleNotFoundError("no key.")

"""What Hydra finds by itself: the sweeper of `search=optuna`. It takes sweepers from no other package than this."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Chooses the settings of each job by what those before it came to."""

    def __init__(self, **of_basic_sweeper: Any) -> None:
        """The settings of Hydra's own sweeper say nothing here."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Called by Hydra, with the settings of the command line, those to choose from among them."""
        from hypercolumns.sweeps.search import examples, search  # it imports torch, and Hydra imports this each time

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        launch = self.launcher.launch
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(list(arguments))
        self.validate_batch_is_legal(examples(overrides))
        search(self.config, overrides, lambda job, number: launch([job], initial_job_idx=number))

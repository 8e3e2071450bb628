"""The sweeper of `search=optuna`: the part of Hydra that chooses and runs the jobs of a sweep.

Hydra looks for sweepers only in the package `hydra_plugins`.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """A sweeper that lets Optuna choose the settings of each job from the results of earlier jobs."""

    def __init__(self, **basic_sweeper_settings: Any) -> None:
        """Accept and ignore the settings of Hydra's basic sweeper.

        `search=optuna` replaces only the class of the sweeper in the config, so Hydra still passes these settings.
        """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config and build the launcher; Hydra calls this method before `sweep`."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the search. Hydra calls this method.

        Args:
            arguments: the overrides on the command line, which the config holds, too. Optuna chooses from the values
                of those, and of those in `hydra.sweeper.params`, that give several values.
        """
        # Every command loads this plugin, but only a search needs `sweeps.search`, which imports torch.
        from hypercolumns.sweeps.identity import sweep_overrides
        from hypercolumns.sweeps.search import examples, search

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        launch = self.launcher.launch
        overrides = sweep_overrides(self.config)
        self.validate_batch_is_legal(examples(overrides))
        search(self.config, overrides, lambda job, number: launch([job], initial_job_idx=number))

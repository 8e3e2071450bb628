"""What a sweep runs, and the folder that belongs to this sweep alone.

    <runs>/sweeps/<name>/sweep.json   what the sweep runs, how many jobs it has, and the command that started it

The values that a sweep tries, and the settings that its jobs have in common, can be given on the command line, in
`hydra.sweeper.params`, in the user's own YAML files, or by environment variables. All of these take effect in the
configs that Hydra composes, so the name of a sweep's folder is a hash of these configs and of the values.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hypercolumns.cli.messages import error_line
from hypercolumns.cli.paths import quote_paths
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import read_json, short_hash, write_json
from hypercolumns.runs.file_names import SWEEP_FILE
from hypercolumns.runs.inventory import SWEEPS
from hypercolumns.runs.lookup import differences
from hypercolumns.settings.compose import command_line, compose_as, plain
from hypercolumns.settings.invocation import Invocation
from hypercolumns.settings.schema import BY_NAME, IN_ALL, NOTHING, SETTINGS, taken
from hypercolumns.sweeps.jobs import clear_records

# Parts of the sweeper's and the search's settings that only say how many jobs there are, or how many run at once.
COUNTS = ("max_batch_size", "n_jobs", "n_trials", "trials")
IN_PARAMS = "in hydra.sweeper.params: "
MAX_DIFFERENCES = 3  # a message names at most this many differences between two sweeps


def name_sweep(config: DictConfig) -> dict[str, Any]:
    """Name the folder of a sweep, and return the record of what the sweep runs.

    The same sweep has the same folder each time, so it continues there. Another sweep has another folder.

    Args:
        config: the config of the sweep, before its first job. Unless the user has named the sweep (`hydra.job.name`),
            the name in this config is set here. The jobs get it, too.

    Raises:
        HydraException: if Hydra can't compose the first job. Then nothing is written, because no job could be done.
    """
    _quote_params(config)
    overrides = sweep_overrides(config)
    of_hydra = [text for text in config.hydra.overrides.hydra if not _begins(text, "hydra.mode=", "hydra.searchpath=")]
    identity = _identity(config, overrides)
    compose_as(Invocation(config.hydra), _first_job(overrides))
    if not _is_named(config):
        name = short_hash(identity)
        config.hydra.job.name = name
        # The jobs compose their configs from these overrides. Hydra would read some hashes as numbers without quotes.
        config.hydra.overrides.hydra.append(f"hydra.job.name='{name}'")
    command = command_line(["-m", *of_hydra, *config.hydra.overrides.task])
    origin = {"command": command, "directory": str(Path.cwd())}
    swept = [str(override.input_line) for override in overrides if override.is_sweep_override()]
    order = swept if _runs_all(config) else []
    return {"sweep": identity, "jobs": _count_jobs(config, overrides), "order": order, **origin}


def write_record(config: DictConfig, record: dict[str, Any], alone: bool = True) -> None:
    """Write the record of a sweep, as `name_sweep` returned it, to the folder of the sweep.

    If the values are in another order than before, the jobs get other numbers. The records of the jobs are then
    removed, because a number would stand for two jobs. The runs stay, so that no job is repeated.

    Args:
        config: the config of the sweep.
        record: the record.
        alone: whether no other process runs this sweep.

    Raises:
        HypercolumnsError: if the user has named the folder, and it belongs to another sweep. Also if another process
            runs this sweep with the values in another order.
    """
    folder, identity = Path(config.hydra.sweep.dir), record["sweep"]
    file = folder / SWEEP_FILE
    found = read_json(file) if file.is_file() else None
    if found is not None and found.get("sweep") != identity:
        raise HypercolumnsError(
            f"{folder} is the folder of another sweep ({_describe_differences(found.get('sweep'), identity)}); give "
            f"this sweep another {_name_setting(config)}, leave it out, or remove the folder"
        )
    if found is not None and found.get("order") != record["order"]:
        if not alone:
            raise HypercolumnsError(
                f"another process runs this sweep with its values in another order, so that its jobs have other "
                f"numbers; give the same command here ({found.get('command')}), or wait until it has ended"
            )
        clear_records(folder)
    if found != record:
        write_json(file, record)


def sweep_overrides(config: DictConfig) -> list[Override]:
    """Return the overrides of a sweep: those in `hydra.sweeper.params`, and those on the command line.

    If a setting is given twice, the last override counts, as in Hydra's own sweeper.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        overrides = parser.parse_overrides(_params(config))
    except OverrideParseException as error:
        raise HypercolumnsError(f"{IN_PARAMS}{error_line(error)}") from error
    overrides += parser.parse_overrides(list(config.hydra.overrides.task))
    return list({override.get_key_element(): override for override in overrides}.values())


def _quote_params(config: DictConfig) -> None:
    """Quote the values in `hydra.sweeper.params` as those on the command line. Hydra's sweeper reads them from here.

    Raises:
        HypercolumnsError: if a value with commas could be one value or several.
    """
    try:
        quoted = quote_paths(["-m", *_params(config)])[1:]
    except HypercolumnsError as error:
        raise HypercolumnsError(f"{IN_PARAMS}{error}") from error
    for override in quoted:
        name, _, value = override.partition("=")
        config.hydra.sweeper.params[name] = value


def _params(config: DictConfig) -> list[str]:
    """Return the overrides in `hydra.sweeper.params`, as Hydra's own sweeper reads them."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    return [f"{name}={value}" for name, value in params.items()]


def _identity(config: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """Return everything that decides which jobs a sweep runs and what their results are, as JSON values."""
    identity = {
        "values": _swept_values(config, overrides),
        "sweeper": _without_counts(plain(config.hydra.sweeper)),
        "search": _without_counts(plain(config.get("search"))),
        "settings": _settings_of_jobs(config, overrides),
    }
    if OmegaConf.select(config, "search.storage"):  # the study has the name of the folder, also in a shared database
        identity["runs"] = config.runs
    return dict(json.loads(json.dumps(identity, default=str)))


def _swept_values(config: DictConfig, overrides: Sequence[Override]) -> list[str]:
    """Return the swept overrides, sorted.

    The values inside an override are sorted, too, if Hydra's own sweeper runs all of their combinations: every job has
    a run of its own, so their order only decides which job is the first. A search may depend on the order.
    """
    in_any_order = _runs_all(config)
    lines = []
    for override in filter(Override.is_sweep_override, overrides):
        line = str(override.input_line)
        if in_any_order and isinstance(override.value(), ChoiceSweep | RangeSweep):
            line = f"{override.get_key_element()}={','.join(sorted(override.sweep_string_iterator()))}"
        lines.append(line)
    return sorted(lines)


def _runs_all(config: DictConfig) -> bool:
    """Whether the sweep runs all combinations of the values, by Hydra's own sweeper, and is no search."""
    return "BasicSweeper" in config.hydra.sweeper._target_


def _without_counts(settings: Any) -> Any:
    """Remove the entries of `COUNTS`, and `params`, whose overrides are listed among the values or take effect."""
    if not isinstance(settings, dict):
        return settings
    return {name: value for name, value in settings.items() if name not in (*COUNTS, "params")}


def _first_job(overrides: Sequence[Override]) -> list[str]:
    """Return the overrides of a job with the first value of each swept setting."""
    job = []
    for override in overrides:
        value = override.value()
        if not override.is_sweep_override():
            job.append(str(override.input_line))
        elif isinstance(value, IntervalSweep):
            job.append(f"{override.get_key_element()}={value.start}")
        else:
            first = itertools.islice(override.sweep_string_iterator(), 1)
            job += [f"{override.get_key_element()}={one}" for one in first]
    return job


def _settings_of_jobs(config: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """Return the settings that decide the results of the jobs, without those values that are tried.

    A swept setting that chooses files, such as `cnn`, is composed with each of its options, because the files can
    change. The other settings then have the first of their options,
    in alphabetical order. The stages that make a job's input are composed, too.

    Returns:
        The settings of each stage with each option, by a text such as `stage=pretrain cnn=sqn`.
    """
    choices = config.hydra.runtime.choices
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    options = {
        override.get_key_element(): sorted(override.sweep_string_iterator())
        for override in overrides
        if override.is_sweep_override() and override.is_discrete_sweep() and _chooses_files(override, choices)
    }
    settings, command = {}, Invocation(config.hydra)
    for job in one_at_a_time(options):
        chosen = [f"{name}={option}" for name, option in job.items()]
        arguments = [*fixed, *chosen]
        cfg = compose_as(command, arguments)
        others = [argument for argument in arguments if not argument.startswith("stage=")]
        configs = [cfg]
        for stage in _stages_before(cfg.get("stage")):
            with suppress(HydraException):  # a job that needs this stage reports the error
                configs.append(compose_as(command, [*taken(stage, others), f"stage={stage}"]))
        for made in configs:
            settings[" ".join([f"stage={made.get('stage')}", *sorted(chosen)])] = _deciding(made)
    return settings


def one_at_a_time(values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return jobs that together have each value of each setting: the first values, and those with one other value.

    Their number is the sum of the numbers of values, not the product.

    Args:
        values: the values of each setting. A setting without values is left out.
    """
    first = {name: options[0] for name, options in values.items() if options}
    return [first, *(first | {name: option} for name, options in values.items() for option in options[1:])]


def _chooses_files(override: Override, choices: DictConfig) -> bool:
    """Whether a swept override may choose files of a config group, and does not only give values."""
    name = override.get_key_element().lstrip("+").partition("@")[0]
    return name in choices or (override.is_add() and override.is_choice_sweep())


def _stages_before(stage: str | None) -> tuple[str, ...]:
    """Return the stages that a job of this stage may run before it, or as a part of it."""
    if stage == "all":
        return IN_ALL
    return IN_ALL[: IN_ALL.index(stage)] if stage in IN_ALL else ()


def _deciding(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings of a config that may decide a result, also those of the user that no declaration names."""
    nothing = {setting.name for setting in SETTINGS if setting.decides == NOTHING}
    nothing -= {"stage", *(setting.name for setting in SETTINGS if setting.stages == ("all",))}  # which stages run
    settings = {str(name): _plain_entry(cfg, str(name)) for name in cfg if name not in nothing}
    for setting in nothing & set(BY_NAME):
        group, _, entry = setting.partition(".")
        if isinstance(settings.get(group), dict):
            settings[group].pop(entry, None)
    return settings


def _plain_entry(cfg: DictConfig, name: str) -> Any:
    """Return a setting as plain values; interpolations whose value is missing stay texts."""
    try:
        return plain(cfg[name])
    except OmegaConfBaseException:
        entry: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [name]), resolve=False)
        return entry[name]


def _name_setting(config: DictConfig) -> str:
    """Return the setting by which the user has chosen the folder of the sweep."""
    by_name = Path(config.runs) / SWEEPS / config.hydra.job.name
    return "hydra.job.name" if Path(config.hydra.sweep.dir) == by_name else "hydra.sweep.dir"


def _is_named(config: DictConfig) -> bool:
    """Whether the user has named the sweep, on the command line or in a YAML file."""
    typed = any(_begins(text, "hydra.job.name=") for text in config.hydra.overrides.hydra)
    return typed or config.hydra.job.name != JobRuntime.instance().get("name")


def _begins(override: str, *prefixes: str) -> bool:
    return override.lstrip("+").startswith(prefixes)


def _count_jobs(config: DictConfig, overrides: Sequence[Override]) -> int | None:
    """Return the number of jobs of a sweep; None if only the sweeper knows it."""
    if config.get("search") is not None:
        return int(config.search.trials) if str(config.search.get("trials", "")).isdecimal() else None
    count = 1
    for override in overrides:
        if override.is_sweep_override():
            if isinstance(override.value(), IntervalSweep | Glob):
                return None
            count *= len(list(override.sweep_string_iterator()))
    return count


def _describe_differences(found: Any, wanted: dict[str, Any]) -> str:
    """Describe how the sweep of a folder, as `_identity` returned it, differs from the sweep of this command."""
    if not isinstance(found, dict):
        return f"its {SWEEP_FILE} has no record of it"
    lines = list(differences({"swept": found.get("values")}, {"swept": wanted["values"]}).values())
    for part in ("sweeper", "search"):
        lines += differences({part: found.get(part)}, {part: wanted[part]}).values()
    before = found.get("settings") or {}
    for name, settings in wanted["settings"].items():
        lines += differences(before[name], settings).values() if name in before else []
    lines = list(dict.fromkeys(lines))
    more = f" and {len(lines) - MAX_DIFFERENCES} more" if len(lines) > MAX_DIFFERENCES else ""
    return "; ".join(lines[:MAX_DIFFERENCES]) + more or "it has other settings"

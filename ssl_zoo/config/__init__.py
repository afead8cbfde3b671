"""The config: composed, checked, resolved, and built into parts. Imports no torch."""

from ssl_zoo.config.build import flatten, instantiate, to_plain
from ssl_zoo.config.changes import (
    CHANGEABLE,
    changeable,
    changed_config,
    check_changes,
    differences,
    differing,
    in_words,
    unread_of,
    wiring_of,
)
from ssl_zoo.config.choices import check_choices, chosen_method, chosen_options, slots_of
from ssl_zoo.config.cli import command_of, explain, fail, nearest, remove_if_empty, run_cli, told
from ssl_zoo.config.grid import (
    axes_of,
    check_allocation,
    fixed,
    is_place,
    jobs_of,
    settings,
    without_repeats,
)
from ssl_zoo.config.groups import CONFIG_DIR, first_comment, options_of, own_folders, read_option
from ssl_zoo.config.knob_names import ErrorAt, naming_knobs
from ssl_zoo.config.places import with_absolute_places
from ssl_zoo.config.presets import preset_line
from ssl_zoo.config.quoting import override, typed
from ssl_zoo.config.resolvers import (
    LR_RULES,
    hydra_folder,
    norm_splits,
    register_resolvers,
    scaled_lr,
    sweep_group,
)
from ssl_zoo.config.shown import (
    copies,
    copies_again,
    likeliest_options,
    options_by_group,
    shown,
)
from ssl_zoo.config.trusted import (
    ALLOWED_PACKAGES,
    RUN_PACKAGES,
    check_targets,
    trust_for,
    trusted_packages,
    trusting,
)
from ssl_zoo.config.trusted import VARIABLE as TRUST_VARIABLE
from ssl_zoo.config.unread import (
    EVALUATE_ROOTS,
    TRAIN_ROOTS,
    check_overrides,
    check_program,
    chosen_names,
    overridden_keys,
    task_overrides,
    unread_overrides,
)
from ssl_zoo.config.values import check_counts, check_dataset, check_knobs, check_types

__all__ = [
    "ALLOWED_PACKAGES",
    "CHANGEABLE",
    "CONFIG_DIR",
    "EVALUATE_ROOTS",
    "LR_RULES",
    "RUN_PACKAGES",
    "TRAIN_ROOTS",
    "TRUST_VARIABLE",
    "ErrorAt",
    "axes_of",
    "changeable",
    "changed_config",
    "check_allocation",
    "check_changes",
    "check_choices",
    "check_counts",
    "check_dataset",
    "check_knobs",
    "check_overrides",
    "check_program",
    "check_targets",
    "check_types",
    "chosen_method",
    "chosen_names",
    "chosen_options",
    "command_of",
    "copies",
    "copies_again",
    "differences",
    "differing",
    "explain",
    "fail",
    "first_comment",
    "fixed",
    "flatten",
    "hydra_folder",
    "in_words",
    "instantiate",
    "is_place",
    "jobs_of",
    "likeliest_options",
    "naming_knobs",
    "nearest",
    "norm_splits",
    "options_by_group",
    "options_of",
    "overridden_keys",
    "override",
    "own_folders",
    "preset_line",
    "read_option",
    "register_resolvers",
    "remove_if_empty",
    "run_cli",
    "scaled_lr",
    "settings",
    "shown",
    "slots_of",
    "sweep_group",
    "task_overrides",
    "to_plain",
    "told",
    "trust_for",
    "trusted_packages",
    "trusting",
    "typed",
    "unread_of",
    "unread_overrides",
    "wiring_of",
    "with_absolute_places",
    "without_repeats",
]

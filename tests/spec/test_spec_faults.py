"""Every fault of a job file in one go, in words, at its line."""

# ruff: noqa: E501 - tables of whole messages

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dlcluster.errors import JobFileError
from dlcluster.spec import job_from_dict, parse_job
from dlcluster.spec.training import Training

HEAD = "version: 1\nname: a\nmodel: {name: mlp}\ndata: {name: co2}\n"
LEAST: dict[str, Any] = {"version": 1, "name": "a"}
TOP = (
    "version, name, kind, description, labels, model, data, training, export, resources, checkpoint, retry, limits, "
    "storage, env, secrets, runtime_env"
)


def faults(text: str) -> list[str]:
    """The faults of a file called j.yaml, one line each."""
    with pytest.raises(JobFileError) as caught:
        parse_job(text, source="j.yaml")
    assert caught.value.exit_code == 2
    assert str(caught.value) == "\n".join(str(fault) for fault in caught.value.faults)
    return str(caught.value).split("\n")


# (what follows HEAD, all faults of the file without "j.yaml:")
ONE_KEY: list[tuple[str, list[str]]] = [
    ("training: {epochs: 0}", ["5: training.epochs: must be at least 1 (got 0)"]),
    ("training:\n  seed: 1\n  epochs: 0", ["7: training.epochs: must be at least 1 (got 0)"]),
    ("training:\n  epochs:\n    0", ["7: training.epochs: must be at least 1 (got 0)"]),
    ("training: {epochs: 1.5}", ["5: training.epochs: must be a whole number (got 1.5)"]),
    ("training: {epochs: 3.0}", ["5: training.epochs: must be a whole number (got 3.0): write 3"]),
    ("training: {epochs: 1e3}", ["5: training.epochs: must be a whole number (got 1e3): write 1000"]),
    ('training: {epochs: "3"}', ['5: training.epochs: must be a whole number (got "3"): write it without quotes']),
    ("training: {epochs: three}", ["5: training.epochs: must be a whole number (got three)"]),
    ("training: {epochs: true}", ["5: training.epochs: must be a whole number (got true)"]),
    ("training: {epochs: yes}", ["5: training.epochs: must be a whole number (got yes)"]),
    ("training: {epochs: [1]}", ["5: training.epochs: must be a whole number (got a list)"]),
    ("training: {epochs: {a: 1}}", ["5: training.epochs: must be a whole number (got a mapping)"]),
    ("training: {epochs: }", ["5: training.epochs: is empty: give it a value, or remove the key"]),
    ("training: {epochs: 010}", ["5: training.epochs: must be a whole number (got 010): write 8 or 10"]),
    ("training: {epochs: 0o17}", ["5: training.epochs: must be a whole number (got 0o17): write 15"]),
    ("training: {epochs: 08}", ["5: training.epochs: must be a whole number (got 08): write 8"]),
    ("training: {epochs: 1_000}", ["5: training.epochs: must be a whole number (got 1_000): write 1000"]),
    ("training: {epochs: 0b11}", ["5: training.epochs: must be a whole number (got 0b11): write 3"]),
    ("training: {epochs: 0b_}", ["5: training.epochs: must be a whole number (got 0b_)"]),
    ("training: {epochs: 1:30}", ["5: training.epochs: must be a whole number (got 1:30)"]),
    ("training: {epochs: 2026-11-21}", ["5: training.epochs: must be a whole number (got 2026-11-21)"]),
    (
        "training: {epochs: 9223372036854775808}",
        ["5: training.epochs: must fit into 64 bits (got 9223372036854775808)"],
    ),
    ("training: {seed: -1}", ["5: training.seed: must be at least 0 (got -1)"]),
    ("training: {gradient_clip: 0}", ["5: training.gradient_clip: must be more than 0 (got 0)"]),
    ("training: {gradient_clip: .nan}", ["5: training.gradient_clip: must be a finite number (got .nan)"]),
    ("training: {gradient_clip: 1e999}", ["5: training.gradient_clip: must be a finite number (got 1e999)"]),
    ("training: {gradient_clip: nan}", ["5: training.gradient_clip: must be a number (got nan)"]),
    (
        "training: {optimizer: {learning_rate: -.inf}}",
        ["5: training.optimizer.learning_rate: must be a finite number (got -.inf)"],
    ),
    (
        'training: {optimizer: {learning_rate: "1e-3"}}',
        ['5: training.optimizer.learning_rate: must be a number (got "1e-3"): write it without quotes'],
    ),
    (
        "training: {optimizer: {learning_rate: -1e-3}}",
        ["5: training.optimizer.learning_rate: must be more than 0 (got -1e-3)"],
    ),
    (
        "training: {optimizer: {name: sgd, momentum: 1}}",
        ["5: training.optimizer.momentum: must be less than 1 (got 1)"],
    ),
    (
        "training: {optimizer: {name: sdg}}",
        ["5: training.optimizer.name: must be one of adam, adamw, sgd, rmsprop, adagrad (got sdg): did you mean sgd?"],
    ),
    (
        "training: {optimizer: {name: Adam}}",
        ["5: training.optimizer.name: must be one of adam, adamw, sgd, rmsprop, adagrad (got Adam): did you mean adam?"],
    ),
    ("training: {optimizer: adam}", ["5: training.optimizer: must be a mapping: write {name: adam}"]),
    ("training: {precision: no}", ["5: training.precision: must be one of fp32, bf16, fp16 (got no)"]),
    ("training: {compile: yes}", ["5: training.compile: must be true or false (got yes): write true"]),
    ("training: {compile: 1}", ["5: training.compile: must be true or false (got 1)"]),
    (
        'training: {compile: "true"}',
        ['5: training.compile: must be true or false (got "true"): write it without quotes'],
    ),
    (
        "training: {early_stopping: true}",
        [
            "5: training.early_stopping: must be a mapping (got true): "
            "its keys are metric, mode, patience, min_delta"
        ],
    ),
    (
        "training: {metrics: ['a:b:c']}",
        ['5: training.metrics[0]: must be package.module:thing, both Python names (got "a:b:c")'],
    ),
    (
        "training: {class_weights: [1, 0]}",
        ["5: training.class_weights: must be balanced, or a list of numbers above 0, one for each class (got a list)"],
    ),
    (
        "training: {class_weights: even}",
        ["5: training.class_weights: must be balanced, or a list of numbers above 0, one for each class (got even)"],
    ),
    ("training: {label_smoothing: 1}", ["5: training.label_smoothing: must be less than 1 (got 1)"]),
    ("training: {optimizer: {beta1: 1.0}}", ["5: training.optimizer.beta1: must be less than 1 (got 1.0)"]),
    (
        "training: {lr_scheduler: {name: onecycle}}",
        [
            "5: training.lr_scheduler.name: must be one of constant, step, cosine, one_cycle, reduce_on_plateau "
            "(got onecycle): did you mean one_cycle?"
        ],
    ),
    (
        "training: {lr_scheduler: {name: step, factor: 1}}",
        ["5: training.lr_scheduler.factor: must be less than 1 (got 1)"],
    ),
    (
        "training: {lr_scheduler: {name: step, gamma: 0.1}}",
        ["5: training.lr_scheduler.gamma: unknown key: did you mean training.lr_scheduler.factor?"],
    ),
    ("training: {gradient_accumulation: 0}", ["5: training.gradient_accumulation: must be at least 1 (got 0)"]),
    ("training: {loss: 'a b'}", ['5: training.loss: must be a name such as lstm, or your own as package.module:thing (got "a b")']),
    ("training:", ["5: training: is empty: give it a value, or remove the key"]),
    ("description: 3", ['5: description: must be text: put it in quotes: "3"']),
    ("description: true", ['5: description: must be text: put it in quotes: "true"']),
    ("description: [a]", ["5: description: must be text (got a list)"]),
    (
        "description: no",
        ['5: description: must be text: put it in quotes: "no" (without, some YAML readers take it for false)'],
    ),
    (
        "description: On",
        ['5: description: must be text: put it in quotes: "On" (without, some YAML readers take it for true)'],
    ),
    (
        "labels: {at: 2026-11-21}",
        [
            '5: labels.at: must be text: put it in quotes: "2026-11-21" '
            "(without, some YAML readers take it for a date)"
        ],
    ),
    (
        "labels: {at: 1:30}",
        [
            '5: labels.at: must be text: put it in quotes: "1:30" '
            "(without, some YAML readers take it for a number of minutes and seconds)"
        ],
    ),
    (
        "labels: {zip: 010}",
        [
            '5: labels.zip: must be text: put it in quotes: "010" '
            "(without, some YAML readers take it for a number)"
        ],
    ),
    ("labels: {no: x}", ['5: labels.no: keys must be text: put it in quotes: "no"']),
    ("labels: {3: x}", ['5: labels.3: keys must be text: put it in quotes: "3"']),
    ('labels: {"": x}', ['5: labels."": must not be empty']),
    ("labels: x", ["5: labels: must be a mapping such as {key: value} (got x)"]),
    ('description: "\\ud83d"', ["5: description: holds U+D83D, a character that cannot be stored: remove it"]),
    (
        "description: !!python/object/apply:os.system [ls]",
        [
            '5: description: tags are not allowed, remove "!!python/object/apply:os.system": '
            "a job file holds plain values only"
        ],
    ),
    ("description: !!str 3", ['5: description: tags are not allowed, remove "!!str": a job file holds plain values only']),
    ("resources: {num_workers: 0}", ["5: resources.num_workers: must be at least 1 (got 0)"]),
    ("resources: {gpus_per_worker: 1.5}", ["5: resources.gpus_per_worker: must be whole above 1 (got 1.5): write 1 or 2"]),
    ("resources: {gpus_per_worker: -1}", ["5: resources.gpus_per_worker: must be at least 0 (got -1)"]),
    ("resources: {accelerator_type: ''}", ['5: resources.accelerator_type: must not be empty (got "")']),
    (
        "resources: {memory_per_worker: 4}",
        ["5: resources.memory_per_worker: must be at least 1MiB; a plain number means bytes (got 4): did you mean 4GiB?"],
    ),
    (
        "resources: {memory_per_worker: 4g}",
        ["5: resources.memory_per_worker: must be a size such as 512MiB or 4GiB (got 4g): did you mean 4GiB?"],
    ),
    (
        "resources: {memory_per_worker: lots}",
        ["5: resources.memory_per_worker: must be a size such as 512MiB or 4GiB (got lots)"],
    ),
    (
        "limits: {max_duration: 6 hours}",
        ["5: limits.max_duration: must be a duration such as 45s, 90m, 6h or 1h30m (got 6 hours)"],
    ),
    (
        "limits: {max_duration: 1:30}",
        [
            "5: limits.max_duration: must be a duration such as 45s, 90m, 6h or 1h30m (got 1:30): "
            "did you mean 1h30m or 1m30s?"
        ],
    ),
    ("limits: {max_wait: 0}", ["5: limits.max_wait: must be more than 0 seconds (got 0)"]),
    ("limits: {max_wait: 11000d}", ["5: limits.max_wait: must be at most ten years (got 11000d)"]),
    ("limits: {gpu_hours: 0}", ["5: limits.gpu_hours: must be more than 0 (got 0)"]),
    ("limits: no", ["5: limits: must be a mapping (got no)"]),
    ("checkpoint: {every_seconds: 10m}", ["5: checkpoint.every_seconds: must be a number (got 10m): write 600"]),
    (
        "checkpoint: {min_seconds: soon}",
        ["5: checkpoint.min_seconds: must be auto, or a number of seconds of at least 0 (got soon)"],
    ),
    ("checkpoint: {mode: minimum}", ["5: checkpoint.mode: must be one of min, max (got minimum): did you mean min?"]),
    ("retry: {max_failures: -2}", ["5: retry.max_failures: must be at least -1 (got -2)"]),
    ("retry: {oom: retry}", ["5: retry.oom: must be fail (got retry)"]),
    ("storage: {path: }\nenv: {B: 3}", ["6: env.B: must be text: put it in quotes"]),
    ("storage: results", ["5: storage: must be a mapping (got results): its keys are path, shared"]),
    (
        "env: {1A: x, B: no, C: [a]}",
        [
            "5: env.1A: must be an environment variable's name: letters, digits and _, no digit first",
            "5: env.B: must be text: put it in quotes",
            "5: env.C: must be text",
        ],
    ),
    ("secrets: HF_TOKEN", ["5: secrets: must be a list: write [HF_TOKEN]"]),
    (
        "secrets:\n  - HF\n  - 3x\n  - HF",
        ["7: secrets[1]: must be an environment variable's name: letters, digits and _, no digit first (got 3x)"],
    ),
    ("runtime_env: {pip: [a, 3, '']}", [
        '5: runtime_env.pip[1]: must be text: put it in quotes: "3"',
        '5: runtime_env.pip[2]: must not be empty (got "")',
    ]),
    ("kind: trian", ["5: kind: must be one of train, predict (got trian): did you mean train?"]),
]  # fmt: skip


@pytest.mark.parametrize(("more", "found"), ONE_KEY, ids=[more for more, _ in ONE_KEY])
def test_a_wrong_value(more: str, found: list[str]) -> None:
    assert faults(HEAD + more) == [f"j.yaml:{fault}" for fault in found]


IN_PARAMS = [
    ("no", 'write false, or put it in quotes: "no" (without, some YAML readers take it for false)'),
    ("010", 'write 8 or 10, or put it in quotes: "010" (without, some YAML readers take it for a number)'),
    ("2026-11-21", 'put it in quotes: "2026-11-21" (without, some YAML readers take it for a date)'),
    (".inf", "must be a finite number (got .inf)"),
    ("18446744073709551616", "must fit into 64 bits (got 18446744073709551616)"),
    ("!x 3", 'tags are not allowed, remove "!x": a job file holds plain values only'),
]


@pytest.mark.parametrize(("word", "message"), IN_PARAMS)
def test_words_that_yaml_readers_disagree_on_are_refused_where_anything_is_due(word: str, message: str) -> None:
    text = HEAD.replace("{name: mlp}", f"{{name: mlp, params: {{a: [{word}]}}}}")
    assert faults(text) == [f"j.yaml:3: model.params.a[0]: {message}"]


KEYS = [
    ("epochs: 3", "epochs: unknown key: did you mean training.epochs?"),
    ("trainng: {}", "trainng: unknown key: did you mean training?"),
    ("Training: {}", "Training: unknown key: did you mean training?"),
    ("lr: 3", "lr: unknown key: did you mean training.optimizer.learning_rate?"),
    ("batch-size: 3", "batch-size: unknown key: did you mean training.global_batch_size?"),
    (
        "patience: 3",
        "patience: unknown key: did you mean training.lr_scheduler.patience or training.early_stopping.patience?",
    ),
    ("metric: a", "metric: unknown key: did you mean training.early_stopping.metric or checkpoint.metric?"),
    ("zzz: 3", f"zzz: unknown key: must be one of {TOP}"),
    (
        "tune: {}",
        "tune: unknown key: it belongs to another kind of job, and this version runs kind: train and predict only",
    ),
    ("1: a", f"1: unknown key: must be one of {TOP}"),
    ("on: a", f"on: unknown key: must be one of {TOP}"),
    ("training: {epoch: 3}", "training.epoch: unknown key: did you mean training.epochs?"),
    ("training: {n_epochs: 3}", "training.n_epochs: unknown key: did you mean training.epochs?"),
    ("training: {max_epochs: 3}", "training.max_epochs: unknown key: did you mean training.epochs?"),
    ("training: {epochss: 3}", "training.epochss: unknown key: did you mean training.epochs?"),
    (
        "training: {batch_size: 3}",
        "training.batch_size: unknown key: did you mean training.global_batch_size?",
    ),
    ("training: {lr: 3}", "training.lr: unknown key: did you mean training.optimizer.learning_rate?"),
    (
        "training: {learning_rate: 3}",
        "training.learning_rate: unknown key: did you mean training.optimizer.learning_rate?",
    ),
    (
        "training: {optimizer: {learning_rat: 3}}",
        "training.optimizer.learning_rat: unknown key: did you mean training.optimizer.learning_rate?",
    ),
    ("resources: {gpus: 3}", "resources.gpus: unknown key: did you mean resources.gpus_per_worker?"),
    ("resources: {num_gpus: 3}", "resources.num_gpus: unknown key: did you mean resources.gpus_per_worker?"),
    ("checkpoint: {metrics: a}", "checkpoint.metrics: unknown key: did you mean checkpoint.metric?"),
    ("storage: {zzz: a}", "storage.zzz: unknown key: must be one of path, shared"),
    ('"\\e[31mred": 1', f'"\\u001b[31mred": unknown key: must be one of {TOP}'),
]


@pytest.mark.parametrize(("more", "found"), KEYS, ids=[more for more, _ in KEYS])
def test_a_wrong_key(more: str, found: str) -> None:
    assert faults(HEAD + more) == [f"j.yaml:5: {found}"]


def test_arguments_of_a_model_go_under_params() -> None:
    text = HEAD.replace("{name: mlp}", "{name: mlp, hidden_size: 3}")
    assert faults(text) == ["j.yaml:3: model.hidden_size: unknown key: arguments of your own go under model.params"]


TOGETHER = [
    ("version: 1\nname: a\nmodel: {name: m}\ndata: {}\n", [
        "4: data: needs a name (a data set) or a path (files of your own): add name: co2"]),
    ("version: 1\nname: a\nmodel: {name: m}\ndata:\n  name: co2\n  path: x\n", [
        "6: data.path: conflicts with data.name: keep one of the two"]),
    ("version: 1\nname: a\nmodel: {name: m}\ndata: {name: co2, split: {train: 0.8}}\n", [
        "4: data.split: train + validation + test must add up to 1 (got 0.8 + 0.1 + 0.2 = 1.1)"]),
    ("version: 1\nname: a\nmodel: {name: m}\ndata: {name: co2, split: {train: 0.8, validation: 0}}\n"
     "training: {early_stopping: {}}\n", [
        "1: checkpoint.metric: is validation_loss, but data.split.validation is 0: "
        "write train_loss, or validate on a share",
        "5: training.early_stopping.metric: is validation_loss, but data.split.validation is 0: "
        "write train_loss, or validate on a share"]),
    (HEAD + "training: {optimizer: {momentum: 0.9}}", [
        "5: training.optimizer.momentum: is for sgd and rmsprop only, not for adam (got 0.9): remove it, or write "
        "name: sgd"]),
    (HEAD + "training: {optimizer: {name: rmsprop, momentum: 0.9, beta1: 0.8, beta2: 0.99, nesterov: true}}", [
        "5: training.optimizer.beta1: is for adam and adamw only, not for rmsprop (got 0.8): remove it, or write "
        "name: adam",
        "5: training.optimizer.beta2: is for adam and adamw only, not for rmsprop (got 0.99): remove it, or write "
        "name: adam",
        "5: training.optimizer.nesterov: is for sgd only, not for rmsprop: remove it, or write name: sgd"]),
    (HEAD + "training: {optimizer: {name: sgd, nesterov: true}}", [
        "5: training.optimizer.nesterov: needs momentum: write training.optimizer.momentum: 0.9"]),
    (HEAD + "training: {lr_scheduler: {name: cosine, factor: 0.5, every_epochs: 2, patience: 2}}", [
        "5: training.lr_scheduler.factor: is for step and reduce_on_plateau only, not for cosine: remove it",
        "5: training.lr_scheduler.every_epochs: is for step only, not for cosine: remove it",
        "5: training.lr_scheduler.patience: is for reduce_on_plateau only, not for cosine: remove it"]),
    (HEAD + "training: {lr_scheduler: {name: one_cycle, warmup_steps: 5}}", [
        "5: training.lr_scheduler.warmup_steps: is not for one_cycle, which warms up by itself: remove it"]),
    (HEAD.replace("co2}", "co2, split: {fold: 1}}"), [
        "4: data.split.fold: needs data.split.folds: say how many folds there are"]),
    (HEAD.replace("co2}", "co2, split: {folds: 3, fold: 3}}"), [
        "4: data.split.fold: must be below data.split.folds (3), the first is 0 (got 3)"]),
    (HEAD.replace("co2}", "co2, split: {folds: 3, files: {test: x}}}"), [
        "4: data.split.folds: conflicts with data.split.files.test: the test split is one or the other"]),
    (HEAD.replace("co2}", "co2, split: {stratify: true, by: time}}"), [
        "4: data.split.stratify: conflicts with data.split.by: time: keep one of the two"]),
    (HEAD.replace("co2}", "co2, task: forecast, split: {stratify: true, by: random}}"), [
        "4: data.split.stratify: is for the task classification, not for forecast: remove it",
        "4: data.split.by: random would let a forecast see what comes after its test: write time, or leave it out"]),
    (HEAD.replace("co2}", "co2, task: regression}") + "training: {class_weights: balanced, label_smoothing: 0.1}", [
        "5: training.class_weights: is for the task classification, not for regression: remove it",
        "5: training.label_smoothing: is for the task classification or language_model, not for regression: "
        "remove it"]),
    (HEAD + "training: {loss: bce, class_weights: [1, 2], label_smoothing: 0.1}", [
        "5: training.label_smoothing: is for the loss cross_entropy, not for bce: remove it"]),
    (HEAD + "training: {loss: 'own:loss', class_weights: [1, 2]}", [
        "5: training.class_weights: is for the loss cross_entropy or bce, not for own:loss: remove it"]),
    (HEAD + "training: {metrics: [f1, f1]}", ["5: training.metrics[1]: f1 is in the list already: remove one"]),
    (HEAD + "training: {gradient_accumulation: 20}\nresources: {num_workers: 2}", [
        "5: training.gradient_accumulation: is 20, but a batch of 32 has 16 samples for each worker: "
        "each part needs one"]),
    (HEAD + "training: {global_batch_size: 2}\nresources: {num_workers: 3}", [
        "5: training.global_batch_size: is 2, less than resources.num_workers (3): "
        "each worker needs a sample per step"]),
    (HEAD + "resources: {num_workers: 33}", [
        "1: training.global_batch_size: is 32, less than resources.num_workers (33): "
        "each worker needs a sample per step"]),
    (HEAD + "env: {A: x, HF: y}\nsecrets: [HF, B, B]", [
        "5: env.HF: is also under secrets: keep one of the two",
        "6: secrets[2]: B is in the list already: remove one"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found"), TOGETHER)
def test_keys_that_conflict(text: str, found: list[str]) -> None:
    assert faults(text) == [f"j.yaml:{fault}" for fault in found]


FINE = [
    HEAD + "training: {optimizer: {name: rmsprop, momentum: 0.9}}",
    HEAD + "training: {optimizer: {name: sgd, momentum: 0.9, nesterov: true}}",
    HEAD + "training: {lr_scheduler: {name: step, factor: 0.5, every_epochs: 2, warmup_steps: 3}}",
    HEAD + "training: {lr_scheduler: {name: reduce_on_plateau, factor: 0.5, patience: 2}}",
    HEAD + "training: {gradient_clip: 1, gradient_clip_value: 1, gradient_accumulation: 32}",
    HEAD.replace("co2}", "co2, task: language_model}") + "training: {label_smoothing: 0.1}",
    HEAD.replace("co2}", "co2, task: classification, split: {stratify: true, by: random}}")
    + "training: {class_weights: [1, 2], label_smoothing: 0.1}",
    HEAD.replace("co2}", "co2, split: {folds: 3, fold: 2}}"),
    # A file of its own is as good as a share.
    HEAD.replace("co2}", "co2, split: {train: 0.8, validation: 0, files: {validation: x}}}"),
]


@pytest.mark.parametrize("text", FINE)
def test_settings_that_go_together(text: str) -> None:
    assert parse_job(text).version == 1


def test_every_fault_in_one_go_in_the_order_of_the_file() -> None:
    text = """\
# a comment
name: Lstm CO2
kind: train
labels: {team: no}
model:
  params: {a: 1e-3, b: .nan}
data:
  name: co2
  path: x
training:
  epochs: 0
  epochs: 2
  optimizer:
    name: sdg
    momentum: 0.5
resources: {num_workers: 64}
name: other
env: {HF: x}
secrets: [HF]
"""
    assert faults(text) == [
        "j.yaml:2: version: is missing: write version: 1",
        "j.yaml:2: name: must be small letters, digits and inner dashes (got Lstm CO2): did you mean lstm-co2?",
        'j.yaml:4: labels.team: must be text: put it in quotes: "no" (without, some YAML readers take it for false)',
        "j.yaml:5: model.name: is missing: write name: mlp",
        "j.yaml:6: model.params.b: must be a finite number (got .nan)",
        "j.yaml:9: data.path: conflicts with data.name: keep one of the two",
        "j.yaml:10: training.global_batch_size: is 32, less than resources.num_workers (64): "
        "each worker needs a sample per step",
        "j.yaml:11: training.epochs: must be at least 1 (got 0)",
        "j.yaml:12: training.epochs: is given twice, on line 11 and on line 12: keep one",
        "j.yaml:14: training.optimizer.name: must be one of adam, adamw, sgd, rmsprop, adagrad (got sdg): did you mean sgd?",
        "j.yaml:17: name: is given twice, on line 2 and on line 17: keep one",
        "j.yaml:18: env.HF: is also under secrets: keep one of the two",
    ]


def test_very_many_faults_are_counted() -> None:
    found = faults(HEAD + "".join(f"k{n}: 1\n" for n in range(1000)))
    assert (len(found), found[-1]) == (101, "j.yaml: and 900 more faults")


@pytest.mark.parametrize("kind", ["tune", "bench"])
def test_another_kind_is_one_fault(kind: str) -> None:
    text = f"version: 1\nkind: {kind}\nfoo: 3\ntune: {{metric: a}}\n"
    assert faults(text) == [f"j.yaml:2: kind: this version of dlcluster runs kind: train and predict only (got {kind})"]


def test_another_version_is_one_fault() -> None:
    assert faults("version: 2\nfoo: 3\n") == ["j.yaml:1: version: this dlcluster reads version 1 only (got 2)"]


@pytest.mark.parametrize(("version", "got"), [('"1"', '"1"'), ("1.0", "1.0"), ("true", "true")])
def test_a_version_of_another_type(version: str, got: str) -> None:
    text = HEAD.replace("version: 1", f"version: {version}")
    assert faults(text) == [f"j.yaml:1: version: must be the whole number 1 (got {got})"]


def test_checks_of_the_caller_are_reported_with_ours() -> None:
    seen: list[Mapping[str, Any]] = []

    def check(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        seen.append(raw)
        yield "model.name", "no such model"
        yield "data.params.window", "is missing"
        yield "training.epochs", "left out: it has a fault already"
        yield "secrets[1]", "bad"
        yield "secrets.0", "bad"
        yield "", "of the whole"

    text = HEAD + "secrets:\n- A\n- B\ntraining: {epochs: 0}\n"
    with pytest.raises(JobFileError) as caught:
        parse_job(text, source="j.yaml", overrides=["model.name=x"], checks=[check])
    assert str(caught.value).split("\n") == [
        "j.yaml:1: of the whole",
        "j.yaml:4: data.params.window: is missing",
        "j.yaml:6: secrets[0]: bad",
        "j.yaml:7: secrets[1]: bad",
        "j.yaml:8: training.epochs: must be at least 1 (got 0)",
        "--set model.name=x: model.name: no such model",
    ]
    assert seen == [
        {
            "version": 1,
            "name": "a",
            "model": {"name": "x"},
            "data": {"name": "co2"},
            "secrets": ["A", "B"],
            "training": {"epochs": 0},
        }
    ]


def test_faults_of_values_made_in_python() -> None:
    own: dict[Any, Any] = {"t": (1, 2), "o": object(), "n": float("nan"), "b": 2**80, "z": "\0"}
    own[3] = 4
    values: dict[str, Any] = {**LEAST, "model": {"name": "x", "params": own}, "training": 3}
    with pytest.raises(JobFileError) as caught:
        job_from_dict(values)
    assert str(caught.value).split("\n") == [
        "<job>: data: is missing: write data: {name: co2}",
        "<job>: model.params.o: must be text, a number, true, false, a list or a mapping (got object)",
        "<job>: model.params.n: must be a finite number (got nan)",
        "<job>: model.params.b: must fit into 64 bits (got 0x100000000000000000000)",
        "<job>: model.params.z: holds U+0000, a character that cannot be stored: remove it",
        '<job>: model.params.3: keys must be text: put it in quotes: "3"',
        "<job>: training: must be a mapping (got 3): its keys are " + ", ".join(Training.model_fields),
    ]


def test_values_that_hold_themselves() -> None:
    own: dict[str, Any] = {}
    own["a"] = own
    with pytest.raises(JobFileError) as caught:
        job_from_dict({"version": 1, "labels": own})
    assert str(caught.value) == "<job>: labels.a: is nested more than 64 deep"


def test_a_job_must_be_a_mapping() -> None:
    with pytest.raises(JobFileError) as caught:
        job_from_dict([1])  # type: ignore[arg-type]
    assert str(caught.value) == "<job>: must be a mapping with keys such as version, name, model and data"


def test_generation_keeps_its_last_epoch_and_has_no_metric_to_shrink_by() -> None:
    text = (
        "version: 1\nname: a\nmodel: {name: gan}\n"
        "data: {path: a.npz, task: generation, split: {train: 1, validation: 0, test: 0}}\n"
    )
    assert parse_job(text, source="j.yaml").data.task == "generation"
    assert faults(text + "export: {prune: 0.5, quantize: int8}\n") == [
        "j.yaml:5: export.prune: is measured by a test metric, which generation has none of: remove it",
        "j.yaml:5: export.quantize: is measured by a test metric, which generation has none of: remove it",
    ]

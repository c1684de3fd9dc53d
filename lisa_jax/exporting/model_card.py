"""The README.md of an exported side network: front matter as model hubs read it, then what it is and how to use it."""

import dataclasses
import html
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from lisa_jax.dual_branch import parse_hooks
from lisa_jax.experiments.bounds import STEPS
from lisa_jax.experiments.kinds import Number, require
from lisa_jax.exporting.base_terms import BaseTerms
from lisa_jax.families.export_check import Measured
from lisa_jax.families.usage import Usage
from lisa_jax.files.hub import hub_file, hub_name
from lisa_jax.files.lines import read_objects
from lisa_jax.files.path_list import split_named_paths
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media.channels import RGB
from lisa_jax.processes import Process

CARD = "README.md"
PICTURE = "samples.png"
# Hubs cache a model in such a folder; its snapshots are named by hashes.
_HUB_CACHE = "models--"
# Sampler -> the scheduler of diffusers that it follows step by step, given the base's scheduler config.
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
}
# Channels of a condition -> what Pillow calls them.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_ONLY_HERE = """\
lisa_jax samples with it, and continues it where `config.side.start_from` names this folder.
"""
# Those of `sampling.generate.make_generator`, of what diffusers' pipelines know too.
SAMPLING_DEFAULTS = {
    "sampler": "ddim",
    "control_scale": 1.0,
    "control_start": 0.0,
    "control_end": 1.0,
    "guess_mode": False,
    "negative_prompt": "",
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """All that the card of one side network says.

    Attributes:
      config: the run's config as a nested dict.
      step: training steps of the exported parameters.
      averaged: they are the moving average.
      base_fingerprint: SHA-256 of the frozen model's files.
      process: the noise that the base and the network were trained with.
      usage: how others use such networks.
      license: a hub's name of a licence, or None where none was stated: then it is the base's.
      terms: what the base says of its licence.
      variant: of the weights' file, "fp16" or "bf16", where its name says its precision.
      dtype: of the weights' file.
      size: of the examples that it was trained on, (H, W) or (F, H, W).
      name: of this side network, which is its condition's.
      names: of all that were trained together.
      conditioning_channels: name -> channels of its condition, of those that have not 3.
      validation: name -> last validation value.
      validation_step: the step of those.
      measured: how far rounding and diffusers move its residuals.
      picture: the folder holds a grid of samples.
      original: the network is one file in the layout of web interfaces, not a folder.
    """

    config: Mapping[str, Any]
    step: int
    averaged: bool
    base_fingerprint: str
    process: Process
    usage: Usage
    size: tuple[int, ...]
    license: str | None
    dtype: str
    name: str
    names: tuple[str, ...]
    conditioning_channels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    validation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    validation_step: int | None = None
    measured: Measured = dataclasses.field(default_factory=Measured)
    picture: bool = False
    original: bool = False
    terms: BaseTerms = dataclasses.field(default_factory=BaseTerms)
    variant: str | None = None

    def render(self) -> str:
        """The card as Markdown with YAML front matter."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("lisa_jax", "exporting/templates"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {"yaml": _yaml, "cell": _cell, "code": _code, "python": _python, "quoted": _quoted}
        base = base_name(self.config["base"])
        sampling = SAMPLING_DEFAULTS | dict(self.config["sampling"])
        front_matter = {
            **self._license(),
            "base_model": base,
            "library_name": "diffusers",
            "tags": self._tags(),
        }
        known = {
            "card": self,
            "base": base,
            "siblings": [name for name in self.names if name != self.name],
            "modes": {name: MODES[self.conditioning_channels.get(name, RGB)] for name in self.names},
            "settings": {
                "num_inference_steps": sampling["num_steps"],
                "guidance_scale": sampling["guidance_scale"],
                "negative_prompt": sampling["negative_prompt"],
                "controlnet_conditioning_scale": self._by_network(sampling["control_scale"]),
                "control_guidance_start": self._by_network(sampling["control_start"]),
                "control_guidance_end": self._by_network(sampling["control_end"]),
                "guess_mode": sampling["guess_mode"],
            },
            "opened": _opened_in_python(self.config["base"], base),
            "vae": _vae_in_python(self.config.get("vae"), base),
            "variant": "" if self.variant is None else f', variant="{self.variant}"',
            "scheduler": SCHEDULERS[sampling["sampler"]],
            "noise": noise_in_words(self.process),
        }
        card = environment.get_template("model_card.md.jinja").render(
            **known,
            front_matter=front_matter,
            hooks=parse_hooks(self.config["lisa"]["hook"]),
            usage=self._usage(environment).render(**known),
            config_json=json.dumps(without_folders(self.config), indent=2),
        )
        # Bytes of a folder's name that are no text.
        return card.encode("utf-8", "replace").decode()

    def _usage(self, environment: jinja2.Environment) -> jinja2.Template:
        if self.original:
            return environment.get_template("original.md.jinja")
        template = self.usage.template
        return environment.from_string(_ONLY_HERE if template is None else template.read_text())

    def _by_network(self, value: Any) -> Any:
        """One number, or where there are several networks one for each."""
        if len(self.names) == 1:
            return value[self.name] if isinstance(value, Mapping) else value
        return [value[name] if isinstance(value, Mapping) else value for name in self.names]

    def _license(self) -> dict[str, str]:
        """Fields of the front matter: the licence that was stated, else the base's."""
        if self.license is not None or self.terms.license is None:
            # "unknown" is what hubs call a licence that was not stated.
            return {"license": self.license or "unknown"}
        fields = ("license", "license_name", "license_link")
        return {name: value for name in fields if (value := getattr(self.terms, name)) is not None}

    def _tags(self) -> list[str]:
        method = ["lisa"] if self.config["lisa"]["lam"] > 0 else []
        return [*self.usage.tags, "jax", *method]


def write_card(folder: str | Path, card: ModelCard) -> None:
    """Write the card into an exported folder, as README.md, and the PyTorch file that it speaks of, where it does."""
    if card.usage.module is not None:
        write_whole_text(Path(folder) / card.usage.module.name, card.usage.module.read_text())
    write_whole_text(Path(folder) / CARD, card.render())


def _opened_in_python(spec: str, base: str) -> str:
    """The beginning of the call by which a pipeline of diffusers opens a base."""
    if spec.endswith(".safetensors") and hub_file(spec) is None:
        return f"from_single_file({_python(Path(spec).name)}"
    return f"from_pretrained({_python(base)}"


def _vae_in_python(spec: str | None, base: str) -> str | None:
    """An expression that loads the VAE that a config names, None where that is the base's own."""
    if spec is None:
        return None
    if spec.endswith(".safetensors"):
        # What such a file does not say is as of the base's own.
        return f'AutoencoderKL.from_single_file({_python(Path(spec).name)}, config={_python(base)}, subfolder="vae")'
    return f"AutoencoderKL.from_pretrained({_python(base_name(spec))})"


def noise_in_words(process: Process) -> str:
    """A noise process with its fields, those of many numbers by how many they are."""
    fields = {name: value for name, value in dataclasses.asdict(process).items() if value is not None}
    shown = {name: f"of {len(value)} numbers" if isinstance(value, tuple) else value for name, value in fields.items()}
    return f"{type(process).__name__}: " + ", ".join(f"{name} {value}" for name, value in shown.items())


def base_name(folder: str | Path) -> str:
    """The name of a base: `owner/name` where it is the hub's or lies in its cache, else that of its folder or file."""
    if (name := hub_name(folder)) is not None:
        return name
    if (named := hub_file(folder)) is not None:
        return named[0].partition("@")[0]
    folder = Path(folder)
    for part in reversed(folder.parts):
        if part.startswith(_HUB_CACHE):
            return part.removeprefix(_HUB_CACHE).replace("--", "/")
    return folder.stem if folder.suffix == ".safetensors" else folder.name


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every absolute path cut down to its last part: a card is no place for them."""

    def shown(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: shown(inner) for name, inner in value.items()}
        return _without_folders(value) if isinstance(value, str) else value

    return shown(config)


def _without_folders(text: str) -> str:
    """A path, or name=PATH with commas between, with the last part of every absolute path alone."""
    if Path(text).is_absolute():
        return Path(text).name
    pairs = [part.partition("=") if "=" in part else ("", "", part) for part in split_named_paths(text)]
    return ",".join(
        name + equals + (Path(path).name if Path(path).is_absolute() else path) for name, equals, path in pairs
    )


def last_validation(workdir: str | Path, step: int) -> tuple[dict[str, float], int | None]:
    """Newest validation values of a run up to `step`, without the quartiles, and their step; ({}, None) without any."""
    path = Path(workdir) / "metrics.jsonl"
    if not path.is_file():
        return {}, None
    prefix = "validation/"
    for where, line in reversed(list(read_objects(path))):
        require(f"{where}: step", line.get("step"), STEPS)
        found = {
            name.removeprefix(prefix): value
            for name, value in line.items()
            if name.startswith(prefix) and not name[:-1].endswith("_q")
        }
        for name, value in found.items():
            require(f"{where}: {prefix}{name}", value, Number())
        if found and line["step"] <= step:
            return found, line["step"]
    return {}, None


class _OneLineDumper(yaml.SafeDumper):
    """Writes every text on one line: who looks for the line --- that ends the front matter finds no other."""


def _text(dumper: yaml.Dumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_OneLineDumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_OneLineDumper, sort_keys=False, allow_unicode=True, width=math.inf)


def _quoted(text: str) -> str:
    """Text as a block of code, of four spaces before each line, which nothing within it ends."""
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _python(value: Any) -> str:
    """A Python literal."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


# What Markdown, or a site that shows it, takes for markup within a line; _ only outside of words.
_MARKUP = re.compile(r"[\\`*\[\]|~#$]|\b_(?!\w)|(?<!\w)_")


def _cell(value: Any) -> str:
    """Text as it is, within a line or a cell of a table in Markdown, where line breaks would end both."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def _code(value: Any) -> str:
    """Text as code, within a cell of a table in Markdown."""
    return "`" + " ".join(str(value).replace("`", "'").split()).replace("|", "\\|") + "`"

"""The page itself: what gradio shows, and how its values become wishes."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lisa_jax.demo.artist import Artist, Wish
from lisa_jax.demo.canvas import Canvas, canvas_for, write_drawing
from lisa_jax.demo.examples import Example, write_conditions
from lisa_jax.drawing.requests import Request
from lisa_jax.sampling.samplers.sampler import SAMPLERS

# Read as gradio is imported: nothing is sent anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
except ImportError as error:
    raise ImportError("The page needs gradio: pip install 'lisa_jax[demo]'.") from error

TITLE = "lisa_jax: try a trained control"
UPLOAD, DRAW = "upload", "draw"
RESULTS = (("With control", "controlled"), ("Without control: the base alone", "uncontrolled"))
# Small pictures are enlarged, and their pixels stay squares.
STYLE = """
.small img { image-rendering: pixelated; width: 100%; height: 100%; object-fit: contain; }
footer { display: none !important; }
"""
SMALL = 128
# Of what shows a picture, as CSS: on a phone not much higher than wide.
HEIGHT = "min(440px, 100vw)"


@contextlib.contextmanager
def _told_on_the_page() -> Iterator[None]:
    """Turns errors that users can mend into a sentence on the page."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise gr.Error("The picture takes more memory than there is.", print_exception=False) from error
    except (ValueError, OSError, FloatingPointError) as error:
        raise gr.Error(str(error), print_exception=False) from error


class Page:
    """Values of the page to pictures."""

    def __init__(self, artist: Artist, examples: Sequence[Example], folder: Path):
        """Drawings and examples become files in `folder`."""
        self.artist, self.examples, self.folder = artist, list(examples), folder
        self.names = artist.networks.names
        trained = artist.sizes.trained
        self.canvases: dict[str, Canvas] = {
            name: canvas_for(trained, self.examples[0].conditions[name] if self.examples else None)
            for name in self.names
        }

    def wish(
        self, prompt: str, negative: str, seed: float | None, settings: dict[str, Any], given: Sequence[Any]
    ) -> Wish:
        """What is wanted; `given` holds source, file, drawing and scale of each side network.

        Raises:
          ValueError: a seed or a condition that is empty.
        """
        if seed is None:
            raise ValueError("The seed is empty: give a whole number.")
        rows = {name: given[4 * row : 4 * row + 4] for row, name in enumerate(self.names)}
        conditions = {name: self._condition(name, *row[:3]) for name, row in rows.items()}
        scales = {name: float(row[3]) for name, row in rows.items()}
        request = Request("The condition", prompt, conditions, negative)
        return Wish(request, int(seed), {**settings, "control_scale": scales})

    def _condition(self, name: str, source: str, file: str | None, drawn: dict[str, np.ndarray] | None) -> Path:
        if source == UPLOAD:
            if file is None:
                raise ValueError(f"The condition {name} is empty: upload a picture, choose an example, or draw one.")
            return Path(file)
        pixels = drawn and drawn["composite"]
        canvas = self.canvases[name]
        if pixels is None or canvas.shows_nothing(pixels):
            raise ValueError(f"The condition {name} is empty: draw something, or upload a picture.")
        return write_drawing(Path(tempfile.mkdtemp(dir=self.folder)), name, pixels, canvas)

    def draw_controlled(
        self,
        prompt: str,
        negative: str,
        seed: float | None,
        sampler: str,
        steps: float,
        guidance: float,
        *given: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how gradio finds it
    ) -> tuple[np.ndarray, None, Wish]:
        """The picture with control, none yet without, and what is wanted of both."""
        settings = {"sampler": sampler, "num_steps": int(steps), "guidance_scale": float(guidance)}
        with _told_on_the_page():
            wish = self.wish(prompt, negative, seed, settings, given)
            progress((0, 2), desc="with control; new settings compile", unit="pictures")
            return self.artist.draw(wish), None, wish

    def draw_uncontrolled(
        self,
        wish: Wish,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how gradio finds it
    ) -> np.ndarray:
        """The picture of the base alone."""
        with _told_on_the_page():
            progress((1, 2), desc="without control", unit="pictures")
            return self.artist.draw(wish, control=False)

    def blocks(self) -> gr.Blocks:
        """What the browser shows."""
        with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
            gr.Markdown(f"# {TITLE}\n{self._explained()}")
            with gr.Row():
                with gr.Column(scale=2):
                    conditions = [self._condition_inputs(name) for name in self.names]
                    general = self._general_inputs()
                with gr.Column(scale=3):
                    prompt = gr.Textbox(label="Prompt", placeholder="what the picture shows", elem_id="prompt")
                    button = gr.Button("Draw", variant="primary", elem_id="draw")
                    with gr.Row():
                        results = [self._result(label, name) for label, name in RESULTS]
                    self._example_inputs(prompt, conditions)
            given = [part for source, file, drawn, scale, _ in conditions for part in (source, file, drawn, scale)]
            self._draws([button.click, prompt.submit], [prompt, *general, *given], results)
        return blocks

    def _draws(self, events: Sequence[Any], inputs: Sequence[Any], results: Sequence[Any]) -> None:
        """Have events draw one picture after the other: the first is seen while the second is made."""
        one_at_a_time = {"concurrency_limit": 1, "concurrency_id": "drawing"}
        # Of both pictures the same, whatever is changed on the page meanwhile.
        wish, (controlled, uncontrolled) = gr.State(), results
        gr.on(
            events,
            self.draw_controlled,
            inputs,
            [controlled, uncontrolled, wish],
            show_progress_on=controlled,
            scroll_to_output=True,
            **one_at_a_time,
        ).success(self.draw_uncontrolled, wish, uncontrolled, **one_at_a_time)

    def _explained(self) -> str:
        whose = " and ".join(f"**{name}**" for name in self.names)
        return (
            f"Give a condition ({whose}) and a prompt, and press *Draw*: both pictures have the same prompt and seed, "
            "one follows the condition, the other is the base alone."
        )

    def _condition_inputs(self, name: str) -> tuple[Any, ...]:
        canvas = self.canvases[name]
        source = gr.State(UPLOAD)
        gr.Markdown(f"**Condition: {name}**")
        with gr.Tabs() as tabs:
            with gr.Tab("Picture", id=UPLOAD) as uploading:
                file = gr.Image(
                    label=f"{name}: {canvas.words}",
                    type="filepath",
                    image_mode=None,
                    sources=["upload"],
                    height=HEIGHT,
                    elem_id=f"file-{name}",
                    elem_classes=self._small(),
                    buttons=[],
                )
                # The file as it is, which the reader of conditions opens; gradio would convert it first.
                file.preprocess = lambda payload: payload and payload.path
            with gr.Tab("Draw", id=DRAW) as drawing:
                drawn = gr.ImageEditor(
                    {"background": canvas.empty(), "layers": [], "composite": None},
                    label=f"{name}: {canvas.words}",
                    image_mode="RGB",
                    format="png",
                    sources=(),
                    transforms=(),
                    layers=False,
                    fixed_canvas=True,
                    canvas_size=canvas.size[::-1],
                    height=HEIGHT,
                    elem_id=f"canvas-{name}",
                    buttons=[],
                    brush=gr.Brush(canvas.radius, [canvas.stroke], canvas.stroke, "defaults"),
                )
        uploading.select(lambda: UPLOAD, None, source)
        drawing.select(lambda: DRAW, None, source)
        trained = self.artist.networks.sampling.get("control_scale", 1.0)
        value = trained if isinstance(trained, int | float) else trained[name]
        scale = gr.Slider(0, max(2, value), value, step=0.05, label=f"Scale of {name}", info="0: no control")
        return source, file, drawn, scale, tabs

    def _general_inputs(self) -> list[Any]:
        """Negative prompt, seed, sampler, steps, guidance."""
        usual, process = self.artist.networks.sampling, type(self.artist.networks.family.process)
        fitting = [name for name, makers in SAMPLERS.items() if process in makers]
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
        with gr.Accordion("More settings", open=False):
            negative = gr.Textbox(usual.get("negative_prompt", ""), label="Negative prompt")
            sampler = gr.Dropdown(fitting, value=usual["sampler"], label="Sampler")
            most = max(100, usual["num_steps"])
            steps = gr.Slider(1, most, usual["num_steps"], step=1, label="Steps")
            guidance = gr.Slider(
                0, max(20, usual["guidance_scale"]), usual["guidance_scale"], step=0.1, label="Guidance", info="1: none"
            )
        return [negative, seed, sampler, steps, guidance]

    def _result(self, label: str, name: str) -> gr.Image:
        return gr.Image(
            label=label,
            format="png",
            interactive=False,
            height=HEIGHT,
            elem_id=name,
            elem_classes=self._small(),
            buttons=["download"],
        )

    def _example_inputs(self, prompt: gr.Textbox, conditions: Sequence[tuple[Any, ...]]) -> None:
        if not self.examples:
            return
        files = write_conditions(self.folder, self.examples, self.artist.networks)
        rows = [[*paths, example.caption] for paths, example in zip(files, self.examples, strict=True)]
        shown = gr.Examples(
            rows,
            [*(file for _, file, *_ in conditions), prompt],
            label="Examples of the test split: click on one",
            cache_examples=False,
            examples_per_page=4,
        )
        sources, tabs = [one[0] for one in conditions], [one[4] for one in conditions]
        shown.load_input_event.then(
            lambda: [UPLOAD] * len(sources) + [gr.Tabs(selected=UPLOAD)] * len(tabs), None, sources + tabs
        )

    def _small(self) -> list[str]:
        return ["small"] if max(self.artist.sizes.trained) <= SMALL else []


def launch(blocks: gr.Blocks, host: str, port: int | None, *, wait: bool) -> str:
    """Serve the page on this machine alone, or to whoever reaches `host`; with `wait` until the process is stopped.

    Returns:
      Its address.

    Raises:
      OSError: the port is taken.
    """
    _, address, _ = blocks.queue().launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        css=STYLE,
        footer_links=[],
        ssr_mode=False,
        prevent_thread_lock=True,
        theme=gr.themes.Default(),
        enable_monitoring=False,
    )
    if wait:
        print(f"The page is at {address} until Ctrl-C.", flush=True)
        blocks.block_thread()
    return address

"""Ahead-of-time reports: counting on shapes, reading collectives, a tiny step compiled for TPUs that are not there."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from lisa_jax.aot.chips import CHIPS, parse_topology, topology_devices
from lisa_jax.aot.hlo import collective_bytes
from lisa_jax.aot.report import (
    bounds,
    compiled_report,
    flops_per_image,
    lowered_report,
    memory_error,
    summary,
    what_does_not_fit,
)
from lisa_jax.aot.step import abstract_step
from lisa_jax.aot.traffic import kernel_traffic, largest_results
from lisa_jax.configs import sd15_lisa, sd21_lisa
from lisa_jax.experiments.base import architecture
from lisa_jax.families.presets import preset_of
from lisa_jax.models.attention import Transformer2D
from lisa_jax.parallel.sharding import make_mesh, replicated, split_rows, traced_on

HLO = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(f32[] %a, f32[] %b)
}

%turns (p: (s32[], f32[8,4])) -> pred[] {
  %number = s32[] constant(5)
  ROOT %less = pred[] compare(%counter, %number), direction=LT
}

%turn (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %inner = f32[8,4]{1,0} all-reduce(f32[8,4]{1,0} %x), channel_id=7, to_apply=%add
  %beside = f32[2]{0} fusion(%inner), kind=kCustom, calls=%continued
}

%continued (p: f32[8,4]) -> f32[2] {
  %again = f32[8,4]{1,0} all-reduce(f32[8,4]{1,0} %x), channel_id=7, to_apply=%add
}

ENTRY %main (p0: f32[16]) -> f32[16] {
  %start = (f32[4]{0}, f32[16]{0}) all-gather-start(f32[4]{0} %p0), dimensions={0}
  %done = f32[16]{0} all-gather-done((f32[4]{0}, f32[16]{0}) %start)
  %two = (bf16[10]{0}, f32[2,3]{1,0}) all-reduce(bf16[10]{0} %a, f32[2,3]{1,0} %b), to_apply=%add
  %loop = (s32[], f32[8,4]{1,0}) while((s32[], f32[8,4]{1,0}) %init), condition=%turns, body=%turnTRIPS
}
"""


def smallest(levels=2):
    """An architecture of two levels with 8 channels, or of the first of them: compiles in seconds."""
    tiny = preset_of("tiny_sd21").architecture
    unet = dataclasses.replace(
        tiny.unet,
        block_out_channels=(8, 8)[:levels],
        norm_num_groups=4,
        attention_head_dim=1,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D")[:levels],
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")[-levels:],
    )
    return dataclasses.replace(tiny, unet=unet)


@pytest.fixture
def config():
    config = sd21_lisa.get_config("pose,smoke")
    config.batch_size, config.accumulate, config.lisa.hook = 8, 1, "down_1"
    return config


@pytest.fixture(scope="module")
def pod():
    return topology_devices("v5e:2x2")


@pytest.mark.parametrize(
    ("trips", "turns"),
    [("", 5), (', backend_config={"known_trip_count":{"n":"3"}}', 3)],
    ids=["by its condition", "as XLA notes it"],
)
def test_collectives_are_counted_by_result_and_by_turn_of_the_loop(trips, turns):
    text = HLO.replace("TRIPS", trips)
    assert collective_bytes(text) == {"all-gather": 64, "all-reduce": 20 + 24 + turns * 128}
    assert collective_bytes(text, in_loops=True) == {"all-reduce": turns * 128}


def test_what_is_compiled_is_what_the_config_is_about_unless_another_preset_is_asked_for():
    for module, preset, width in ((sd15_lisa, "sd15", 768), (sd21_lisa, "sd21", 1024)):
        found = architecture(module.get_config("pose"), None)
        assert found == preset_of(preset).architecture
        assert found.unet.cross_attention_dim == found.text.hidden_size == width
    assert architecture(sd15_lisa.get_config("pose"), "tiny_sd21") == preset_of("tiny_sd21").architecture
    config = sd15_lisa.get_config("pose")
    config.preset = None
    with pytest.raises(ValueError, match="is not there, and the config names no preset: give --preset"):
        architecture(config, None)


def test_topologies():
    assert parse_topology("v5e:16x16") == (CHIPS["v5e"], 256)
    assert parse_topology("v5p:4x4x4") == (CHIPS["v5p"], 64)
    assert parse_topology("h100:8") == (CHIPS["h100"], 8)
    hosts, gpus = parse_topology("h100:2x8")
    assert gpus == 16 and hosts.link_bandwidth == CHIPS["h100"].host_bandwidth < CHIPS["h100"].link_bandwidth
    assert all(chip.flops > 0 for chip in CHIPS.values())
    for wrong in ("v5e", "v9z:2x2", "v5e:16", "h100:0", "h100:2x2x2", "4090"):
        with pytest.raises(ValueError, match=f"Topology '{wrong}' is not known"):
            parse_topology(wrong)


def test_alignment_costs_what_sharing_the_trunk_says_and_a_part_of_the_rows_a_part_of_it(config):
    plain = flops_per_image(config, smallest(), aligns=False)
    lisa = flops_per_image(config, smallest(), aligns=True)
    config.lisa.align_every = 4
    quarter = flops_per_image(config, smallest(), aligns=True)
    assert 1.1 < lisa / plain < 1.5
    assert (quarter - plain) / (lisa - plain) == pytest.approx(0.25, abs=0.05)


def test_what_is_computed_again_is_no_operation_of_the_model(config):
    config.remat = "full"
    step = abstract_step(config, smallest(levels=1), make_mesh(devices=jax.devices()[:1]), aligns=True)
    found = lowered_report(step, config, smallest(levels=1), aligns=True)
    config.remat = "none"
    plain = lowered_report(step, config, smallest(levels=1), aligns=True)
    assert found.flops_per_image == plain.flops_per_image == plain.hardware_flops_per_image
    assert 1.05 * found.flops_per_image < found.hardware_flops_per_image < 1.5 * found.flops_per_image


def test_a_step_for_four_tpus_reports_memory_and_reduces_the_gradients_once(config, pod):
    config.batch_size, config.accumulate = 16, 2
    chip, chips = parse_topology("v5e:2x2")
    step = abstract_step(config, smallest(levels=1), make_mesh(devices=pod), aligns=True)
    assert step.chips == chips
    lowered = lowered_report(step, config, smallest(levels=1), aligns=True)
    compiled = compiled_report(step.jitted.lower(*step.arguments).compile(), 1.0)
    found = summary(step, lowered, compiled, chip)
    assert found["fits"]
    # Padding of tiny arrays to the tiles of a TPU aside, the arguments are those that the shapes say.
    assert compiled.argument_bytes >= sum(lowered.argument_bytes.values())
    # One sum of the gradients, in float32, after the loop over microbatches; within it the losses and next to nothing.
    assert compiled.looped_collectives["all-reduce"] < 0.01 * lowered.gradient_bytes
    assert lowered.gradient_bytes <= compiled.collectives["all-reduce"] < 1.1 * lowered.gradient_bytes
    # Every chip knows its own rows of the batch: gathered are 16 noise levels and losses.
    assert compiled.collectives.keys() == {"all-reduce", "all-gather"} and compiled.collectives["all-gather"] == 128
    assert found["bound_seconds"][found["bound_by"]] == max(bounds(step, lowered, compiled, chip).values())
    # Of the loop over two microbatches XLA counts one turn; the update comes once.
    moved = found["bound_seconds"]["memory"] * chip.hbm_bandwidth
    assert moved == pytest.approx(2 * compiled.hbm_bytes - step.update_bytes)
    assert 2 * (step.trainable_bytes * 3) <= step.update_bytes < compiled.hbm_bytes
    assert 0 < found["mfu_ceiling"] <= 1


def test_on_tpus_attention_over_many_tokens_stores_no_scores_and_gathers_nothing(pod):
    mesh = make_mesh(fsdp=2, devices=pod)
    block = Transformer2D(heads=2, layers=1, norm_groups=4, dtype=jnp.bfloat16)
    inputs = [
        jax.ShapeDtypeStruct((4, *shape), jnp.bfloat16, sharding=split_rows(mesh)) for shape in [(32, 32, 8), (7, 8)]
    ]
    params = jax.eval_shape(block.init, jax.random.key(0), *inputs)
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), params)

    def program(attention):
        def loss(params, x, context):
            return jnp.mean(jnp.square(block.clone(attention=attention).apply(params, x, context)))

        return jax.jit(traced_on(mesh, jax.grad(loss))).lower(params, *inputs).compile()

    kernels, scores = program("auto"), program("xla")
    text = kernels.as_text()
    assert all(f"splash_mha_{phase}" in text for phase in ("fwd", "dq", "dkv"))
    assert "1024,1024]" not in text and "1024,1024]" in scores.as_text()
    assert collective_bytes(text).keys() == {"all-reduce"}
    assert kernels.cost_analysis()["bytes accessed"] < 0.5 * scores.cost_analysis()["bytes accessed"]


GPU_HLO = """HloModule step

%fused_scale (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %scaled = f32[8,4]{1,0} multiply(%p, %p)
}

%fused_transpose (p: f32[8,4]) -> f32[4,8] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %turned = f32[4,8]{1,0} transpose(%p), dimensions={1,0}
}

%fused_slices (p: f32[8,4], q: f32[4]) -> f32[2] {
  %p = f32[8,4]{1,0} parameter(0)
  %q = f32[4]{0} parameter(1)
  %flat = f32[32]{0} bitcast(%p)
  %head = f32[2]{0} slice(%flat), slice={[0:2]}
  %tail = f32[2]{0} slice(%flat), slice={[30:32]}
  %some = f32[2]{0} slice(%q), slice={[0:2]}
  %all = f32[4]{0} add(%q, %q)
  ROOT %joined = f32[2]{0} add(%head, %tail)
}

%fused_sum (p: f32[8,4]) -> f32[8] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %sums = f32[8]{0} reduce(%p, %zero), dimensions={1}, to_apply=%add
}

%body (t: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %t = (s32[], f32[8,4]{1,0}) parameter(0)
  %value = f32[8,4]{1,0} get-tuple-element(%t), index=1
  %again = f32[8,4]{1,0} fusion(%value), kind=kLoop, calls=%fused_scale
}

ENTRY %main (p0: f32[8,4], p1: bf16[2,5,5,3]) -> f32[16] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = bf16[2,5,5,3]{3,2,1,0} parameter(1)
  %first = f32[8,4]{1,0} fusion(%p0), kind=kLoop, calls=%fused_scale
  %second = f32[4,8]{1,0} fusion(%first), kind=kInput, calls=%fused_transpose
  %third = f32[8]{0} fusion(%first), kind=kInput, calls=%fused_sum
  %parts = f32[2]{0} fusion(%first, %third), kind=kLoop, calls=%fused_slices
  %conv = (bf16[2,5,5,4]{3,2,1,0}, u8[16]{0}) custom-call(%p1, %p1), custom_call_target="__cudnn$convForward"
  %loop = (s32[], f32[8,4]{1,0}) while(%init), condition=%turns, body=%body
  %start = ((f32[8]{0}), f32[8]{0}) all-reduce-start(%third), channel_id=1, to_apply=%add
  %done = f32[8]{0} all-reduce-done(%start)
  %part = f32[2]{0} all-reduce(%first), channel_id=1, to_apply=%add
}
"""


def test_kernels_of_gpus_are_told_with_what_they_read_and_write():
    assert kernel_traffic(GPU_HLO) == {
        "convolution": (1, 2 * 300 + 400 + 16),
        # The third reads two slices of one operand, the whole of the other, and writes a slice.
        "elementwise": (3, 4 * 128 + 2 * 8 + 32 + 8),
        "copy": (1, 2 * 128),
        "reduction": (1, 128 + 32),
        "all-reduce": (2, 64 + 8 + 128),
    }
    assert collective_bytes(GPU_HLO) == {"all-reduce": 32 + 8}
    assert largest_results(GPU_HLO, 2) == ["0.00G bf16[2,5,5,4]", "0.00G f32[8,4]"]


def test_without_a_compiler_for_gpus_the_extra_is_named(monkeypatch):
    def absent(**described):
        raise RuntimeError("Unknown backend cuda")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", absent)
    with pytest.raises(ValueError, match=r"Unknown backend cuda.*`cuda13` extra.*Python 3.12.*and jax is"):
        topology_devices("h100:2")


@pytest.fixture(scope="module")
def two_gpus():
    """Needs the `cuda13` extra with jax 0.11.2 or newer, and no GPU: pytest -m slow tests/commands/test_compile.py"""
    try:
        return topology_devices("h100:2")
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_two_gpus_that_are_not_there_add_up_gradients_after_the_loop_over_microbatches(config, two_gpus):
    config.batch_size, config.accumulate = 16, 4
    step = abstract_step(config, smallest(levels=1), make_mesh(devices=two_gpus), aligns=True)
    compiled = compiled_report(step.jitted.lower(*step.arguments).compile(), 1.0)
    assert compiled.looped_collectives["all-reduce"] < 0.01 * step.trainable_bytes < compiled.collectives["all-reduce"]


@pytest.mark.slow
def test_a_step_for_two_gpus_that_are_not_there(config, two_gpus):
    chip, chips = parse_topology("h100:2")
    step = abstract_step(config, smallest(levels=1), make_mesh(devices=two_gpus), aligns=True)
    lowered = lowered_report(step, config, smallest(levels=1), aligns=True)
    program = step.jitted.lower(*step.arguments).compile()
    # The update happens in the order in which kernels are kept, not in cuDNN's (out, h, w, in).
    assert re.search(r"bf16\[\d+,3,3,\d+\]", program.as_text())
    assert not re.search(r"f32\[(?!3,)\d+,3,3,\d+\]", program.as_text())
    compiled = compiled_report(program, 1.0)
    found = summary(step, lowered, compiled, chip)
    assert found["fits"] and found["chips"] == chips and what_does_not_fit(compiled, chip) is None
    assert compiled.argument_bytes >= sum(lowered.argument_bytes.values())
    # Of kernels of products and convolutions in bfloat16, as they come out of them; the others in float32.
    assert 0.5 * lowered.gradient_bytes < compiled.collectives["all-reduce"] < lowered.gradient_bytes
    assert {"convolution", "product", "reduction", "elementwise"} <= compiled.traffic.keys()
    assert compiled.flops is None and found["bound_seconds"]["compute"] > 0
    small = dataclasses.replace(chip, hbm_bytes=2**20)
    assert "needs" in what_does_not_fit(compiled, small) and "G " in what_does_not_fit(compiled, small)


def test_splitting_the_parameters_takes_memory_from_every_chip(config, pod):
    whole = abstract_step(config, smallest(), make_mesh(devices=pod), aligns=True).chip_bytes()
    config.mesh.update(fsdp=4, split_frozen=True)
    split = abstract_step(config, smallest(), make_mesh(1, 4, 1, pod), aligns=True).chip_bytes()
    for name in ("trainable", "optimizer", "frozen"):
        assert split[name] < 0.6 * whole[name]
    assert split["batch"] == whole["batch"]


def test_running_out_of_memory_names_the_largest_buffers():
    text = (
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.51G of 15.75G hbm. Exceeded by 4.76G.\n"
        'Largest program allocations in hbm:\n  1. Size: 2.50G\n     Operator: op_name="jit(step)/attn1"\n'
        "     Shape: f32[8,5,4096,4096]{3,2,1,0}\n"
    )
    error = memory_error(RuntimeError(text), CHIPS["v5e"])
    assert "needs 20.51G of 15.75G HBM" in str(error)
    assert "2.50G f32[8,5,4096,4096]" in str(error)
    assert memory_error(RuntimeError("INTERNAL: something else"), CHIPS["v5e"]) is None


def test_a_batch_that_does_not_split_is_refused(config, pod):
    config.batch_size = 6
    with pytest.raises(ValueError, match="batch_size 6 is not a multiple"):
        abstract_step(config, smallest(), make_mesh(devices=pod), aligns=True)
    assert jax.default_backend() == "cpu"

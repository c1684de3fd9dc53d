"""Reading of depth and segmentation networks' outputs against transformers' own post-processing."""

from types import SimpleNamespace

import numpy as np
import torch
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from lisa_jax.evaluation.network_outputs import inverse_depth, mask2former
from lisa_jax.evaluation.onnx_network import NetworkInput

# transformers resizes masks to 384 x 384, whatever the network's input.
TAKES = NetworkInput((384, 384), (0.0,) * 3, (1.0,) * 3, "rgb", "nchw")
SIZE = (53, 70)


def test_depth_is_resized_as_transformers_does():
    depth = torch.randn(1, 24, 31)
    (expected,) = DPTImageProcessorPil().post_process_depth_estimation(
        SimpleNamespace(predicted_depth=depth), target_sizes=[SIZE]
    )
    ours = inverse_depth([depth.numpy()], TAKES, SIZE)
    difference = np.abs(ours - expected["predicted_depth"].numpy()).max()
    print(f"depth: max abs diff {difference:.2e}")
    assert difference < 1e-5


def test_mask2former_labels_equal_transformers():
    classes, masks = 3 * torch.randn(1, 4, 151), 4 * torch.randn(1, 4, 12, 12)
    outputs = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)
    (expected,) = Mask2FormerImageProcessorPil().post_process_semantic_segmentation(outputs, target_sizes=[SIZE])
    ours = mask2former([classes.numpy(), masks.numpy()], TAKES, SIZE)
    agreeing = np.mean(ours == expected.numpy())
    print(f"labels: {len(np.unique(ours))} classes, {agreeing:.4%} of pixels agree")
    assert len(np.unique(ours)) > 1 and agreeing > 0.999  # ties may fall either way

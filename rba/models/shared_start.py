"""Start queries and keys as one map of the encoder's features, where all weights are random.

Stable Diffusion's U-Net and DINOv2 each bring a description of places; a small network that starts
from nothing would have to find, through a softmax over all tokens, two descriptions that agree.
Here both begin as the encoder's: the hole's own token passes through the U-Net's first convolution,
the reference's tokens through the connector, and the first level's queries and keys take the
features that `rba.training.correspondence` compares. Attention then follows whatever the encoder
knows from the first step on; everything stays trainable, and nothing says where to look.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rba.errors import InputError

_GAIN = 1.2  # of queries and keys: logits of about 6 cosines a head
_OTHER_INPUTS = 0.3  # of the usual start, for noisy and masked latents
_RESIDUAL = 0.1  # of the usual start, for what is added to the features before the attention
_MATCHED, _REST = 0.8, 0.5  # of features that are compared, and of the others, on the way in


@torch.no_grad()
def share_start(network: Any) -> None:
    """Set the start of a `RefinementNetwork` whose U-Net sees the encoder's tokens, in place.

    Raises:
        InputError: If its widths leave no room for the compared half of the features.
    """
    width = network.connector.config["in_features"]
    channels = network.unet.config["block_out_channels"][0]
    half = width // 2
    fits = channels == network.connector.config["out_features"] and half < channels < width
    if not (network.sees_target_tokens and fits):
        raise InputError(
            "model.network.shared_start=true needs a U-Net that sees the encoder's tokens "
            "(in_channels larger by the encoder's width) and block_out_channels[0] = "
            f"connector.out_features, between half and all of the encoder's width {width}; they "
            f"are {channels} and {network.connector.config['out_features']}: give "
            "shared_start=false"
        )
    mixing = torch.linalg.qr(torch.randn(width - half, channels - half))[0].T
    features = torch.zeros(channels, width)
    features[:half, :half] = torch.eye(half)
    features[half:, half:] = mixing
    _pass_through_connector(network.connector.layers, features)
    _pass_through_input(network.unet.conv_in, features, half)
    block = network.unet.down_blocks[0]
    for resnet in block.resnets:
        resnet.conv2.weight.mul_(_RESIDUAL)
    for attention in block.attentions:
        _tie(attention, half)


def _pass_through_connector(layers: Any, features: Tensor) -> None:
    """Make the MLP linear at first: GELU(x) - GELU(-x) = x."""
    first, last = layers[1], layers[3]
    width = features.shape[1]
    if first.out_features < 2 * width:
        raise InputError(
            f"model.network.shared_start=true needs connector.hidden_features of at least "
            f"{2 * width}, not {first.out_features}"
        )
    first.weight[: 2 * width] = torch.cat([torch.eye(width), -torch.eye(width)])
    last.weight[:, : 2 * width] = torch.cat([features, -features], dim=1)
    last.weight[:, 2 * width :] = 0.0
    first.bias.zero_()
    last.bias.zero_()


def _pass_through_input(convolution: nn.Conv2d, features: Tensor, half: int) -> None:
    weight, width = convolution.weight, features.shape[1]
    scales = torch.full((len(features), 1), _REST)
    scales[:half] = _MATCHED
    weight.mul_(_OTHER_INPUTS)
    weight[:, -width:] = 0.0
    weight[:, -width:, 1, 1] = scales * features
    if convolution.bias is not None:
        convolution.bias.zero_()


def _tie(attention: Any, half: int) -> None:
    """Let queries and keys of a transformer take the compared features, spread over the heads."""
    attention.proj_in.weight.copy_(
        torch.eye(len(attention.proj_in.weight)).reshape(attention.proj_in.weight.shape)
    )
    attention.proj_in.bias.zero_()
    block = attention.transformer_blocks[0]
    block.attn1.to_out[0].weight.mul_(_RESIDUAL)
    block.attn1.to_out[0].bias.zero_()
    channels, heads = block.attn2.to_q.weight.shape[0], block.attn2.heads
    order = torch.arange(channels).reshape(-1, heads).T.reshape(-1)
    tied = _GAIN * torch.eye(channels)[order]
    tied[:, half:] *= _RESIDUAL
    block.attn2.to_q.weight.copy_(tied)
    block.attn2.to_k.weight.copy_(tied)

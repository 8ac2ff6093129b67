"""The MLP that turns DINOv2 tokens into the U-Net's conditioning tokens, and the null token."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class Connector(ModelMixin, ConfigMixin):
    """``E = MLP(DINOv2(reference))``, per token (Algorithm 1, line 1).

    LayerNorm, Linear, GELU, Linear, LayerNorm. The null condition of classifier-free guidance is
    one learned token, repeated.

    Args:
        in_features: Width of the encoder's tokens.
        hidden_features: Width between the two linear layers.
        out_features: The U-Net's ``cross_attention_dim``.
    """

    @register_to_config
    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(in_features),
            nn.Linear(in_features, hidden_features),
            nn.GELU(),
            nn.Linear(hidden_features, out_features),
            nn.LayerNorm(out_features),
        )
        self.null_token = nn.Parameter(torch.zeros(out_features))
        nn.init.normal_(self.null_token, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map [B, N, in_features] to [B, N, out_features]."""
        return self.layers(tokens)

    def null_tokens(self, count: int, length: int) -> Tensor:
        """Return the null condition, [count, length, out_features]."""
        return self.null_token.expand(count, length, -1)

"""Optimizer, learning-rate schedule and train mode of the training loop."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cleaner.config import FinetuneConfig
from cleaner.defenses.base import Defense
from cleaner.models.clip import Clip
from cleaner.training.memory import batch_norms

MAX_LOGIT_SCALE = math.log(100)
EMBEDDINGS = ("token_embedding", "positional_embedding", "pos_embed", "cls_token", "attn_pool.latent", "layer_scale")
"""Parts of the names of embeddings and scales that are no `nn.Embedding`, in the towers of open_clip and timm."""


def build_optimizer(model: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer:
    """Return AdamW without decay on scalars, scales, biases, norms and embeddings (unused token rows stay constant).

    Learned visual prompts decay. The code of CleanCLIP, BadCLIP and PAR decays token and positional embeddings too.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_plain = parameter.ndim < 2 or id(parameter) in tables or any(part in name for part in EMBEDDINGS)
        (plain if is_plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def learning_rate(step: int, total: int, config: FinetuneConfig) -> float:
    """Return the rate at `step`: linear warm-up to `config.lr`, then a half cosine to 0."""
    warmup = min(config.warmup_steps, total // 2)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rate(
    optimizer: torch.optim.Optimizer, defense: Defense, config: FinetuneConfig, *, step: int, total: int
) -> float:
    """Set and return the rate at `step`, by the schedule of `defense` if it has one."""
    factor = defense.lr_factor(step, total)
    lr = learning_rate(step, total, config) if factor is None else config.lr * factor
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def clamp_logit_scale(clip: Clip) -> None:
    """Clamp exp(log-temperature) to [1, 100], in place, unless it is frozen, or the loss is a sigmoid, as SigLIP's."""
    if clip.model.logit_scale.requires_grad and not clip.has_sigmoid_loss:
        with torch.no_grad():
            clip.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)  # type: ignore[operator]


@contextmanager
def training_mode(model: nn.Module, freeze_bn: bool) -> Iterator[None]:
    """Put BatchNorm alone in train mode, unless frozen: dropout draws from a state that no checkpoint keeps."""
    model.eval()
    for module in batch_norms(model):
        module.train(not freeze_bn)
    try:
        yield
    finally:
        model.eval()

"""TA-Cleaner's fine-grained alignment of images and captions with subtexts (arXiv:2409.17601).

Reimplemented from the public description: the paper's weights, number of negatives and masking are not public.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features
from cleaner.losses.sigmoid import in_modal_bias, sigmoid_loss


def subtext_loss(f: Features, text_to_text: bool = True) -> Tensor:
    """Return (L_i2t + L_t2i + L_t2t) / 3 over the M drawn pairs, a scalar; exactly 0 when none was drawn.

    With P_i the positive, N_i1 .. N_in the negative subtexts, I_i the image and T_i the caption of drawn pair i:

        L_i2t = CE([s I_i.P_1 .. s I_i.P_M | s I_i.N_i1 .. s I_i.N_in], i)
        L_t2i = CE([s P_i.I_1 .. s P_i.I_M], i)
        L_t2t = CE([s T_i.P_1 .. s T_i.P_M | s T_i.N_i1 .. s T_i.N_in], i)

    The softmax of row i masks padding negatives and every positive subtext of another pair that is also true of pair
    i (`false_negative`); in L_t2i it masks image j if P_i is true of pair j. The diagonal always stays. `negative`
    may be None (positives only); without `text_to_text` L_t2t counts as 0. With a bias b, each softmax becomes
    a `sigmoid_loss` of the same logits + b with the same masks, in L_t2t + `in_modal_bias` (ours). Raises `ValueError`
    without positive subtexts.
    """
    if f.positive is None or f.selected is None:
        raise ValueError("the subtext loss needs positive subtexts and the drawn rows.")
    pairs = len(f.positive)
    if pairs == 0:
        return f.image.new_zeros(())
    image, text = f.image[f.selected], f.text[f.selected]
    masked = torch.zeros(pairs, pairs, dtype=torch.bool, device=image.device)
    if f.false_negative is not None:
        diagonal = torch.eye(pairs, dtype=torch.bool, device=image.device)
        masked = f.false_negative & ~diagonal
    target = torch.arange(pairs, device=image.device)

    def match(logits: Tensor, bias: Tensor | float | None) -> Tensor:
        return F.cross_entropy(logits, target) if bias is None else sigmoid_loss(logits + bias)

    def against_subtexts(query: Tensor, bias: Tensor | float | None) -> Tensor:
        logits = (f.logit_scale * query @ f.positive.T).masked_fill(masked, -torch.inf)  # type: ignore[union-attr]
        if f.negative is not None:
            negative = f.logit_scale * torch.einsum("md,mnd->mn", query, f.negative)
            if f.negative_mask is not None:
                negative = negative.masked_fill(~f.negative_mask, -torch.inf)
            logits = torch.cat([logits, negative], dim=1)
        return match(logits, bias)

    total = against_subtexts(image, f.logit_bias)
    image_logits = (f.logit_scale * f.positive @ image.T).masked_fill(masked.T, -torch.inf)
    total = total + match(image_logits, f.logit_bias)
    if text_to_text:
        bias = None
        if f.logit_bias is not None:
            # A single drawn pair has no other: its bias is that of the captions of the batch.
            bias = in_modal_bias(f, text @ f.positive.T if pairs > 1 else f.text @ f.text.T)
        total = total + against_subtexts(text, bias)
    return total / 3

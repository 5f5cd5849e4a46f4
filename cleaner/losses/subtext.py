"""TA-Cleaner's fine-grained alignment of pictures and captions with subtexts (arXiv:2409.17601).

Re-implementation from the public description: the paper's weights, number of negatives and masking are not public.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features


def subtext_loss(f: Features, text_to_text: bool = True) -> Tensor:
    """Return (L_i2t + L_t2i + L_t2t) / 3 over the M drawn pairs, a scalar; exactly 0 when none was drawn.

    With P_i the positive, N_i1 .. N_in the negative subtexts, I_i the picture and T_i the caption of drawn pair i:

        L_i2t = CE([s I_i.P_1 .. s I_i.P_M | s I_i.N_i1 .. s I_i.N_in], i)
        L_t2i = CE([s P_i.I_1 .. s P_i.I_M], i)
        L_t2t = CE([s T_i.P_1 .. s T_i.P_M | s T_i.N_i1 .. s T_i.N_in], i)

    A positive subtext of another pair that is also true of pair i (`false_negative`) leaves the softmax, as do
    padding negatives; in L_t2i picture j leaves row i where P_i is true of pair j. The diagonal always stays.
    `negative` may be None (positives only); without `text_to_text` L_t2t counts as 0. Raises `ValueError` without
    positive subtexts.
    """
    if f.positive is None or f.selected is None:
        raise ValueError("the subtext loss needs positive subtexts and the rows that were drawn.")
    drawn = len(f.positive)
    if drawn == 0:
        return f.image.new_zeros(())
    image, text = f.image[f.selected], f.text[f.selected]
    true_of = torch.zeros(drawn, drawn, dtype=torch.bool, device=image.device)
    if f.false_negative is not None:
        diagonal = torch.eye(drawn, dtype=torch.bool, device=image.device)
        true_of = f.false_negative & ~diagonal
    target = torch.arange(drawn, device=image.device)

    def against_subtexts(query: Tensor) -> Tensor:
        logits = (f.logit_scale * query @ f.positive.T).masked_fill(true_of, -torch.inf)  # type: ignore[union-attr]
        if f.negative is not None:
            negative = f.logit_scale * torch.einsum("md,mnd->mn", query, f.negative)
            if f.negative_mask is not None:
                negative = negative.masked_fill(~f.negative_mask, -torch.inf)
            logits = torch.cat([logits, negative], dim=1)
        return F.cross_entropy(logits, target)

    total = against_subtexts(image)
    pictures = (f.logit_scale * f.positive @ image.T).masked_fill(true_of.T, -torch.inf)
    total = total + F.cross_entropy(pictures, target)
    return (total + against_subtexts(text) if text_to_text else total) / 3

"""The cost of a training at any scale, from the cost of its parts: pure arithmetic, used by benchmarks.scale."""

from __future__ import annotations

from dataclasses import dataclass

BACKWARD = 2.0
"""Operations of a backward pass, in forward passes."""
BYTES = 4
"""Features, gradients and optimizer state are float32."""


@dataclass(frozen=True)
class Method:
    """What a method encodes for each pair: images, captions, and subtexts."""

    images: int = 1
    captions: int = 1
    share: float = 0.0
    """Share of the pairs with subtexts, K."""
    negatives: int = 3
    epochs: int = 10
    pairs: int = 100_000

    @property
    def subtexts(self) -> float:
        """Subtexts per pair: a positive one and the negatives of the drawn pairs."""
        return self.share * (1 + self.negatives)


METHODS = {
    "poison": Method(pairs=500_000),
    "finetune": Method(),
    "cleanclip": Method(images=2, captions=2),
    "ta_cleaner, K 10%": Method(images=2, captions=2, share=0.1),
    "ta_cleaner, K 100%": Method(images=2, captions=2, share=1.0),
}
"""The paper's run: 500,000 pairs for the attack, 100,000 clean ones for a defense, 10 epochs each."""


@dataclass(frozen=True)
class Model:
    """Operations of the forward pass of an image, and of a caption and a subtext with their padding; width of the
    features, parameters.
    """

    image_flops: float
    caption_flops: float
    subtext_flops: float
    width: int
    parameters: int


@dataclass(frozen=True)
class Host:
    """Processor seconds per item, one core: to decode and frame an image, augment it, reword a caption, make the
    subtexts of a pair, and tokenize a text.
    """

    decode: float
    augment: float
    eda: float
    subtexts: float
    tokenize: float


@dataclass(frozen=True)
class Machine:
    """One process and its links: operations per second of each tower, and of the loss.

    bandwidth: bytes per second and direction; latency: seconds per message; cores: processor cores per process, of
    which one loads; is_overlapped: whether loading hides behind the computation.
    """

    image_rate: float
    text_rate: float
    bandwidth: float
    latency: float
    cores: int = 1
    is_overlapped: bool = True
    update_rate: float = 5e10
    """Parameters that the optimizer updates per second."""
    loss_rate: float = 1e13
    """Operations per second of the loss, which is float32."""


@dataclass(frozen=True)
class Step:
    """Seconds of the parts of one step; bytes are per process."""

    compute: float
    loss: float
    update: float
    gather: float
    reduce: float
    tokenize: float
    load: float
    decode: float
    is_overlapped: bool
    gather_bytes: float
    reduce_bytes: float

    @property
    def device(self) -> float:
        """Seconds in which the training thread is busy."""
        return self.compute + self.loss + self.update + self.gather + self.reduce + self.tokenize

    @property
    def seconds(self) -> float:
        """Seconds of the step."""
        if self.is_overlapped:
            return max(self.device, self.load, self.decode)
        return self.device + self.load + self.decode


def predict_step(
    model: Model, method: Method, machine: Machine, host: Host, *, batch: int, processes: int, loss: float | None = None
) -> Step:
    """Return the parts of a step of `batch` pairs per process; `loss`: its measured seconds, None: from operations.

    The features of all rows travel to every process, which computes the whole loss. Gradients are averaged after the
    backward pass, by a ring. Loading is done by one thread, decoding by all cores. Not counted: copying images to the
    GPU, exchanging subtexts, and the mask of those that are also true of other pairs.
    """
    rows, texts = batch * processes, method.captions + method.subtexts
    passes = 1 + BACKWARD
    images = passes * batch * method.images * model.image_flops / machine.image_rate
    text = batch * (method.captions * model.caption_flops + method.subtexts * model.subtext_flops)
    # Of all rows in both directions, and as many for the views; three among the drawn pairs with subtexts.
    products = rows * rows * model.width * 2 * (2 * method.images + 3 * method.share**2)
    is_alone = processes == 1
    gather_bytes = 0.0 if is_alone else BYTES * rows * model.width * (method.images + texts) * (1 - 1 / processes)
    reduce_bytes = 0.0 if is_alone else 2 * BYTES * model.parameters * (1 - 1 / processes)
    return Step(
        compute=images + passes * text / machine.text_rate,
        loss=passes * products / machine.loss_rate if loss is None else loss,
        update=model.parameters / machine.update_rate,
        gather=gather_bytes / machine.bandwidth + 2 * (processes - 1) * machine.latency,
        reduce=reduce_bytes / machine.bandwidth + 2 * (processes - 1) * machine.latency,
        tokenize=batch * texts * host.tokenize,
        load=batch
        * ((method.images - 1) * host.augment + (method.captions - 1) * host.eda + method.share * host.subtexts),
        decode=batch * host.decode / machine.cores,
        is_overlapped=machine.is_overlapped,
        gather_bytes=gather_bytes,
        reduce_bytes=reduce_bytes,
    )


def count_hours(seconds: float, method: Method, batch: int) -> float:
    """Return the hours of all processes together, for steps of `seconds` with `batch` pairs per process."""
    return method.epochs * method.pairs / batch * seconds / 3600


GPU_PEAK, MFU = 312e12, (0.25, 0.45)
"""Assumed: an A100's peak for dense bf16 products (its data sheet), and the share of it that training reaches."""
LINKS = {1: (1.0, 0.0), 8: (240e9, 10e-6), 64: (20e9, 20e-6)}
"""Assumed: GPUs -> bytes per second and direction, seconds per message. 8: NVLink, 80% of 300 GB/s; 64: one 200 Gb/s
link per GPU, 80% of it."""
CONTEXT_LENGTH = 77
"""Tokens of a text that is padded to the whole context, as in the published code."""
CORES, GPU_BATCH = 16, 64
"""Assumed: processor cores and pairs per GPU."""


def make_gpu(processes: int, mfu: float) -> Machine:
    """Return an assumed GPU among `processes`."""
    bandwidth, latency = LINKS[processes]
    return Machine(
        image_rate=GPU_PEAK * mfu, text_rate=GPU_PEAK * mfu, bandwidth=bandwidth, latency=latency, cores=CORES
    )

"""Floor 2: what can be added to CTC, each a function of (labels, logits, mask) as `ctc.ctc_loss` is.

Shapes: labels (batch, length) padded with 0, logits (batch, frames, classes), mask (batch, frames); results (batch,).
Like CTC itself, none of them sees padding, and a text that cannot fit its frames costs inf and has gradient 0.
"""

from keras import ops

from htr.ctc import fits
from htr.lattice import NEVER, best_alignment, total
from htr.losses import masked_sparse_crossentropy


def focal(losses, gamma: float, alpha: float):
    """CTC losses -log p -> alpha (1 - p)^gamma (-log p): words that are read already count less.

    Feng et al., "Focal CTC Loss for Chinese Optical Character Recognition on Unbalanced Datasets", Complexity 2019.
    """
    known = ops.isfinite(losses)
    costs = ops.where(known, losses, 0.0)
    # 1 - p through expm1, and never 0, where a power below 1 has no gradient
    left = ops.maximum(-ops.expm1(-ops.maximum(costs, 0.0)), 1e-7)
    return ops.where(known, alpha * ops.power(left, gamma) * costs, losses)


def alignment_entropy(labels, logits, mask):
    """-> the entropy in nats of which alignment of the label it is, 0 where the label cannot fit.

    Liu et al., "Connectionist Temporal Classification with Maximum Entropy Regularization", NeurIPS 2018.
    """
    weight, entropy = total(labels, ops.log_softmax(_seen(logits, mask)), mask)
    return ops.where(weight > NEVER / 10, entropy, 0.0)


def distance_to_uniform(logits, mask):
    """-> the sum over valid frames of KL(p || uniform), in nats: log(classes) minus the entropy of the frame.

    Kim et al., "Improved training for online end-to-end speech recognition systems", Interspeech 2018.
    """
    logs = ops.log_softmax(_seen(logits, mask))
    entropy = -ops.sum(ops.exp(logs) * logs, axis=-1)
    most = ops.log(ops.cast(ops.shape(logits)[-1], "float32"))
    return ops.sum((most - entropy) * ops.cast(mask, "float32"), axis=1)


def disagreement(logits, mask):
    """Two views of each word in neighbouring rows (2 i, 2 i + 1) -> each row's KL from the other view, (batch,)

    The sum over valid frames of KL(other || own), with no gradient through the other. Yao et al., "CR-CTC: Consistency
    regularization on CTC for improved speech recognition", ICLR 2025, arXiv:2410.05101.
    """
    logs = ops.log_softmax(_seen(logits, mask))
    pairs = ops.reshape(logs, (-1, 2, ops.shape(logs)[1], ops.shape(logs)[2]))
    others = ops.stop_gradient(ops.reshape(ops.flip(pairs, axis=1), ops.shape(logs)))
    values = ops.sum(ops.exp(others) * (others - logs), axis=-1)
    return ops.sum(values * ops.cast(mask, "float32"), axis=1)


def prior_loss(labels, logits, mask, strength: float):
    """CTC on p / prior^strength, where prior is the mean of p over the batch's valid frames: blanks lose their lead.

    Huang et al., "Less Peaky and More Accurate CTC Forced Alignment by Label Priors", ICASSP 2024, arXiv:2406.02560.
    The weights no longer sum to 1, so the loss may be negative.
    """
    logs, counts = ops.log_softmax(_seen(logits, mask)), ops.cast(mask, "float32")[..., None]
    prior = ops.sum(ops.exp(logs) * counts, axis=(0, 1)) / ops.maximum(ops.sum(counts), 1.0)
    prior = ops.stop_gradient(ops.log(ops.maximum(prior, 1e-6)))
    weight, _ = total(labels, logs - strength * prior, mask)
    return ops.where(fits(labels, mask), -weight, float("inf"))


def alignment_loss(labels, logits, mask):
    """Masked sparse cross-entropy of every frame against the network's own best alignment of the label, summed.

    Viterbi training (Juang and Rabiner, "The Segmental K-Means Algorithm", IEEE ASSP 1990); blanks are targets too.
    """
    possible = fits(labels, mask)
    targets = best_alignment(labels, ops.log_softmax(_seen(logits, mask)), mask)
    weights = ops.logical_and(ops.cast(mask, "bool"), possible[:, None])
    values = masked_sparse_crossentropy(targets, logits, weights, reduction="sequence")
    return ops.where(possible, values, float("inf"))


def _seen(logits, mask):
    """logits with zeros where the mask is False."""
    return ops.where(ops.cast(mask, "bool")[..., None], ops.cast(logits, "float32"), 0.0)

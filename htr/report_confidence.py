"""Floor 6: the section of a report's page on confidences: honest or not, and what it is worth to put words aside."""

import numpy as np

from htr import calibration
from htr import report_parts as parts
from htr.charset import normalize
from htr.report_parts import escape, percent
from htr.report_sections import Page

KEPT = (1.0, 0.95, 0.9, 0.8, 0.5)  # shares of the words, surest first


def confidence(page: Page) -> str:
    """Whether confidences are honest, with and without a temperature, and what it is worth to put words aside."""
    rows, right = page.rows, page.rows.edits == 0
    how, after = _temperature(page)
    series = [("as read", rows.confidences)] + ([("with temperature", after)] if after is not None else [])
    bins = [(name, calibration.reliability(values, right)) for name, values in series]
    errors = [(name, calibration.calibration_error(values, right)) for name, values in series]
    mean = f"Mean confidence {percent(float(np.mean(rows.confidences)))}, words right {percent(float(right.mean()))}."
    listed = "; ".join(f"{name} {percent(error)}" for name, error in errors)
    reliability = parts.chart(
        [(f"{name}", [b.confidence for b in found], [b.accuracy for b in found]) for name, found in bins],
        x="confidence",
        y="words right",
        label=f"Share of words right against confidence. Calibration error: {listed}.",
        diagonal=True,
        dots=True,
    )
    each = "Each dot is a tenth of the words" if len(right) >= 10 else "Each dot is a word"
    text = (
        f"<h3>Is it honest?</h3><p>{mean} Calibration error: {listed}.</p>{reliability}"
        f'<p class="note">{each}; below the diagonal the reader is too sure. {how}</p>'
    )
    return f'<div class="pair"><div>{text}</div><div>{_rejection(page)}</div></div>'


def _temperature(page: Page) -> tuple[str, np.ndarray | None]:
    """A sentence about the temperature, and the confidences (words,) at it, or None where there is none."""
    decode, right = page.reader.objective.decode, page.rows.edits == 0
    texts = [normalize(page.reader.charset.decode(reading.ids)) for reading in decode(page.logits)]
    differing = sum(a != b for a, b in zip(texts, page.rows.hypotheses, strict=True))
    if differing > 0.01 * len(texts):  # a rounding may turn a word in a thousand over, on another machine
        return "No temperature: the readings are not those of the network alone.", None
    if page.temperature is not None:
        found = np.full(len(texts), page.temperature)
        how = f"Temperature {page.temperature:.2f}, fitted before on other words."
    else:
        try:
            found = calibration.cross_temperatures(page.logits, right, page.rows.groups, decode=decode)
        except ValueError as error:
            return f"No temperature: {escape(error)}", None
        unit = "writers" if page.rows.groups else "words"
        values = " and ".join(f"{value:.2f}" for value in np.unique(found))
        how = f"Temperatures {values}: each half of the {unit} has the one that fits the other half."
    after = np.empty(len(texts))
    for value in np.unique(found):
        chosen = np.flatnonzero(found == value)
        after[chosen] = calibration.confidences_at(value, [page.logits[i] for i in chosen], decode=decode)
    return how, after


def _rejection(page: Page) -> str:
    rows = page.rows
    curves = [("least sure words put aside", calibration.rejection(rows.confidences, rows.edits, rows.lengths))]
    if page.other is not None:
        theirs = page.other.rows
        curves.append(("the other reader", calibration.rejection(theirs.confidences, theirs.edits, theirs.lengths)))
    # with hindsight: most edits first, and the shorter of two words, whose characters are less missed
    score = rows.lengths / (1 + rows.lengths.max()) - rows.edits
    curves.append(("most edits put aside", calibration.rejection(score, rows.edits, rows.lengths)))
    top = max(float(curve.cer.max()) for _, curve in curves)
    drawn = parts.chart(
        [(name, curve.kept, curve.cer) for name, curve in curves],
        x="words kept",
        y="CER of these",
        top=top,
        label="Character error rate against the share of words kept, the surest first.",
    )
    ours = curves[0][1]
    table = parts.table(["#Words kept", "#CER"], [(f"{100 * share:.0f} %", percent(ours.at(share))) for share in KEPT])
    areas = f"Area under the curve {percent(ours.area)}, with hindsight {percent(curves[-1][1].area)}."
    return f"<h3>Does it know what it misreads?</h3><p>{areas}</p>{drawn}{table}"

"""Floor 8: the page of `htr demo`, made of Gradio's parts; htr.demo_server imports Gradio and hands it in as gr."""

import base64
from pathlib import Path

from htr import demo_parts as parts
from htr.demo import MAX_BYTES, MAX_IMAGES, MAX_LEXICON, Desk, samples
from htr.images import read_image

HEIGHT = 300  # px of what stands on the left
KEPT = 3600  # seconds that an upload is kept
_SCRIPT = Path(__file__).with_name("demo.js")
_SHEET = """
<div class="htr">
  <div class="sheet empty">
    <canvas width="720" height="288" role="img" aria-label="A sheet to write a word on"></canvas>
    <p class="note">Write a word here, with mouse, finger or pen</p>
  </div>
  <p class="tools">
    <button type="button" class="undo">Undo</button>
    <button type="button" class="clear">Clear</button>
  </p>
</div>
"""
_ABOUT = "# htr\nReads handwritten words. What you draw or drop here stays on the machine that serves this page."


def build(gr, desk: Desk):
    """The page as Gradio's Blocks."""
    with gr.Blocks(title="htr", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown(_ABOUT)
        with gr.Accordion("Reader, engine, lexicon", open=False):
            choices = _choices(gr, desk)
        with gr.Tab("One word"):
            _one(gr, desk, choices)
        with gr.Tab("Several files"):
            _several(gr, desk, choices)
    return page


def _choices(gr, desk: Desk) -> list:
    """What to read with: checkpoint, engine, lexicon."""
    with gr.Row():
        checkpoint = gr.Dropdown(list(desk.checkpoints), value=desk.checkpoint, label="Reader", min_width=180)
        engine = gr.Dropdown(desk.engines, value=desk.engine, label="Engine", min_width=120)
    lexicon = gr.Textbox(
        label="Lexicon: words to prefer, one a line; others stay possible",
        lines=3,
        max_lines=8,
        max_length=MAX_LEXICON,
        elem_id="lexicon",
    )
    if samples():
        take = gr.Button("Take the words of the samples", size="sm")
        take.click(lambda: "\n".join(text for _, text in samples()), None, lexicon, api_visibility="private")
    return [checkpoint, engine, lexicon]


def _one(gr, desk: Desk, choices: list) -> None:
    """Draw, drop or choose a word on the left, see how it reads on the right."""

    def fresh(source, *chosen):
        return source, _show(desk, source, *chosen)

    def drawn(checkpoint, engine, lexicon, event: gr.EventData):
        return fresh(_png(event._data.get("png")), checkpoint, engine, lexicon)

    def clicked(checkpoint, engine, lexicon, event: gr.SelectData):
        return fresh(samples()[event.index][0], checkpoint, engine, lexicon)

    last = gr.State(None, time_to_live=KEPT)  # what was read, to read it again when a choice changes
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            with gr.Tab("Draw"):
                sheet = gr.HTML(
                    html_template=_SHEET, js_on_load=_SCRIPT.read_text(encoding="utf-8"), elem_id="sheet", value=""
                )
            with gr.Tab("Picture"):
                picture = _picture(gr)
            if samples():
                with gr.Tab("Samples"):
                    gallery = _gallery(gr)
        with gr.Column(scale=6, min_width=320):
            shown = gr.HTML(parts.welcome(), elem_id="result")
    told = {"outputs": [last, shown], "api_visibility": "private", "show_progress": "hidden"}
    sheet.submit(drawn, choices, trigger_mode="always_last", **told)
    picture.change(fresh, [picture, *choices], **told)
    if samples():
        gallery.select(clicked, choices, **told)
    for choice, progress in zip(choices, ("full", "full", "hidden"), strict=True):  # to load a reader takes seconds
        again = {**told, "show_progress": progress, "trigger_mode": "always_last"}
        choice.change(fresh, [last, *choices], **again)


def _show(desk: Desk, source: str | bytes | None, checkpoint: str, engine: str, lexicon: str) -> str:
    """A file's name, an image's bytes or nothing -> the HTML of how it reads, or of why it cannot be read."""
    if source is None:
        return parts.welcome()
    try:
        data = source if isinstance(source, bytes) else {"path": Path(source).name, "bytes": Path(source).read_bytes()}
        return parts.result(desk.see(data, desk.reader(checkpoint, engine), lexicon or ""))
    except (ValueError, OSError) as error:
        return parts.refusal(str(error))


def _png(url: str | None) -> bytes | None:
    """The data: URL of a sheet -> its PNG, None where nothing is drawn."""
    return base64.b64decode(url.partition(",")[2]) if url else None


def _picture(gr):
    """A place to drop, paste or photograph an image."""
    picture = gr.Image(
        sources=["upload", "clipboard", "webcam"],
        type="filepath",
        webcam_options=gr.WebcamOptions(mirror=False),
        height=HEIGHT,
        buttons=[],
        show_label=False,
        elem_id="picture",
    )
    return _local(picture)


def _local(component):
    """Gradio's Image or File, told to hand on files as they came: what is an image is for htr.images to say.

    A class of our own would not do: Gradio writes a .pyi file beside whatever makes one.
    """

    def names(payload):
        return [file.path for file in payload.root] if hasattr(payload, "root") else payload and payload.path

    component.preprocess = names
    return component


def _gallery(gr):
    """The words of docs/samples, to click on."""
    words = [(read_image(file).convert("RGB"), text) for file, text in samples()]
    return gr.Gallery(
        words,
        columns=4,
        height=HEIGHT,
        format="png",
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        show_label=False,
        elem_id="samples",
    )


def _several(gr, desk: Desk, choices: list) -> None:
    """Files in, a table out."""

    def read(files: list[str] | None, checkpoint: str, engine: str, lexicon: str) -> str:
        if not files:
            return parts.refusal("No file was given: drop images or a zip of images above.")
        try:
            return parts.table(list(desk.read_all(files, desk.reader(checkpoint, engine), lexicon or "")))
        except (ValueError, OSError) as error:
            return parts.refusal(str(error))

    files = _local(gr.File(file_count="multiple", label="Images or zips of images", elem_id="files"))
    gr.Markdown(f"Up to {MAX_IMAGES} images, {MAX_BYTES >> 20} MB a file. They are read as soon as they are here.")
    button = gr.Button("Read them again", elem_id="read-files")
    table = gr.HTML(elem_id="table")
    gr.on([button.click, files.upload], read, [files, *choices], table, api_visibility="private")

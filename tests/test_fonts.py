"""Fetching fonts: what is kept, recorded, skipped. A script stands for npm; nothing is fetched from anywhere."""

import io
import json
import os
import tarfile

import pytest

from htr import fonts


def archive(name, *, licence="OFL-1.1", files=("400", "700")):
    """A package as npm packs it -> bytes of a .tgz."""
    contents = {
        "package.json": json.dumps({"name": f"@fontsource/{name}", "version": "5.3.0", "license": licence}),
        "LICENSE": "Copyright 2014 Somebody\n\nOpen.",
    }
    contents |= {f"files/{name}-latin-{weight}-normal.woff": weight for weight in files}
    contents |= {f"files/{name}-latin-ext-400-normal.woff": "ext"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, text in contents.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A folder of packages, and an `npm` on the path that hands them out by name."""
    store = tmp_path / "store"
    store.mkdir()
    script = store / "npm"
    absent = 'echo "npm error code E404" >&2; exit 1'
    script.write_text(f'#!/bin/sh\ncp "{store}/$(basename "$2").tgz" . 2>/dev/null || {{ {absent}; }}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{store}{os.pathsep}{os.environ['PATH']}")
    return store


def test_a_font_is_kept_with_its_licence_and_recorded(npm, tmp_path):
    (npm / "nice.tgz").write_bytes(archive("nice"))
    have, skipped = fonts.fetch(tmp_path / "fonts", ["nice"])
    assert skipped == {}
    assert have == fonts.recorded(tmp_path / "fonts")
    (font,) = have
    assert (font.package, font.version, font.licence) == ("@fontsource/nice", "5.3.0", "OFL-1.1")
    assert font.copyright == "Copyright 2014 Somebody"
    assert (tmp_path / "fonts" / font.file).read_text() == "400"
    assert "Open." in (tmp_path / "fonts" / "licences" / "nice.txt").read_text()


def test_what_is_not_there_or_not_open_is_skipped_and_listed(npm, tmp_path):
    (npm / "shut.tgz").write_bytes(archive("shut", licence="proprietary"))
    (npm / "thin.tgz").write_bytes(archive("thin", files=()))
    have, skipped = fonts.fetch(tmp_path, ["shut", "gone", "thin", "../up"])
    assert have == [] and list(skipped) == ["shut", "gone", "thin", "../up"]
    assert "has the licence proprietary" in skipped["shut"] and "E404" in skipped["gone"]
    assert "no upright Latin .woff" in skipped["thin"] and "is no font name" in skipped["../up"]
    assert (tmp_path / "skipped.csv").read_text().splitlines()[0] == "name,reason"


def test_a_font_that_is_there_is_not_fetched_again(npm, tmp_path):
    (npm / "nice.tgz").write_bytes(archive("nice"))
    fonts.fetch(tmp_path, ["nice"])
    (npm / "nice.tgz").unlink()
    assert fonts.fetch(tmp_path, ["nice"]) == (fonts.recorded(tmp_path), {})


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"npm was not found: install Node\.js"):
        fonts.fetch(tmp_path)


def test_the_command_lists_fonts_and_tells_by_its_exit_code(npm, tmp_path, capsys):
    (npm / "nice.tgz").write_bytes(archive("nice"))
    assert fonts.main([str(tmp_path / "f"), "nice"]) == 0
    assert fonts.main([str(tmp_path / "f"), "nice", "gone"]) == 1
    assert fonts.main([]) == 2
    said = capsys.readouterr()
    assert "nice-latin-400-normal.woff: @fontsource/nice 5.3.0, OFL-1.1" in said.out
    assert "gone skipped" in said.out and "usage" in said.err

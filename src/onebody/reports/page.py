"""A self-contained HTML page. Only `write` touches the disk.

Every other function returns a piece of HTML; it escapes the texts that it is given, but not pieces of HTML.
"""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Section:
    """A heading and the pieces of HTML below it."""

    title: str
    body: str


def write(path: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page completely or not at all; `lead` is the paragraph under the heading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace(path, page(title, lead, sections))


def replace(path: Path, text: str) -> Path:
    """Write a text to a file completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    body = "\n".join(f"<section>\n<h2>{html.escape(s.title)}</h2>\n{s.body}\n</section>" for s in sections)
    return _PAGE.format(title=html.escape(title), style=_STYLE, lead=paragraph(lead, "lead"), body=body)


def paragraph(text: str, kind: str = "") -> str:
    """`kind`: "lead", "note" or nothing."""
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; the first column is the row's heading, the others are right-aligned."""
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr><th scope=row>{html.escape(row[0])}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return f"<div class=wide><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"


def facts(values: Mapping[str, str]) -> str:
    """Names and values, such as what a result depends on."""
    pairs = (f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in values.items())
    return f"<dl>{''.join(pairs)}</dl>"


def command(*lines: str) -> str:
    """Commands to type, one per line."""
    return f"<pre><code>{html.escape(chr(10).join(lines))}</code></pre>"


def figures(*pieces: tuple[str, str]) -> str:
    """(piece, caption) pairs side by side, or one below the other on a narrow page."""
    inner = "".join(
        f"<figure>{piece}<figcaption>{html.escape(caption)}</figcaption></figure>\n" for piece, caption in pieces
    )
    return f"<div class=figures>\n{inner}</div>"


def picture(webp: bytes, description: str) -> str:
    """A still or animated WebP image, embedded in the page."""
    data = base64.b64encode(webp).decode()
    return f'<img src="data:image/webp;base64,{data}" alt="{html.escape(description)}">'


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --muted: #5a6573; --grid: #e2e6eb; --soft: #f4f6f8;
  --line-0: #1f6fb5; --line-1: #c2571a; --line-2: #2a8a5c; --line-3: #8a4fa8;
  --line-4: #a8861a; --line-5: #1a93a8; --line-6: #c2417c; --line-7: #6b7683; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e6eaef; --muted: #a0abb8; --grid: #323a44;
  --soft: #1d232a; --line-0: #6fb1ec; --line-1: #f09a5e; --line-2: #63c79a; --line-3: #c596e0;
  --line-4: #d8b95a; --line-5: #5cc4d6; --line-6: #ec8ab4; --line-7: #a0abb8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 44rem; text-wrap: pretty; }
.lead { font-size: 1.1rem; }
.note, figcaption, dt { color: var(--muted); font-size: .9rem; }
.wide { overflow-x: auto; margin: 1rem 0; background:
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to left, #8886, transparent) right / .75rem 100% no-repeat; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 0 .4rem 1rem; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
tr > :first-child { position: sticky; left: 0; background: var(--paper); }
td { white-space: nowrap; }
thead th { vertical-align: bottom; color: var(--muted); font-size: .9rem; font-weight: 500; line-height: 1.3; }
tbody th { font-weight: 600; white-space: nowrap; }
.figures { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.figures:has(img) { grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 1rem 0 0; }
figcaption { margin-top: .35rem; }
svg, img { display: block; width: 100%; height: auto; max-width: 34rem; }
img { border-radius: 6px; background: var(--soft); }
svg text { font-family: inherit !important; }
pre { overflow-x: auto; margin: .75rem 0; padding: .75rem 1rem; border-radius: 6px; background: var(--soft); }
code { font: .9rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 1.75rem; margin: 1rem 0; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
@media print { @page { margin: 15mm; } html { font-size: 10pt; } body { max-width: none; padding: 0; }
  .wide { overflow: visible; background: none; } table, thead th { font-size: 7pt; }
  th, td { padding: .15rem 0 .15rem .4rem; }
  tbody th, td { white-space: normal; } tr > :first-child { position: static; } thead { display: table-header-group; }
  tr, figure { break-inside: avoid; } h2 { break-after: avoid; margin-top: 1.25rem; }
  .figures { grid-template-columns: 1fr 1fr; } pre { white-space: pre-wrap; overflow-wrap: anywhere; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{lead}
{body}
</main>
</body>
</html>
"""

"""Executes every notebook from a fresh kernel and compares its text outputs with the committed ones.

`NN_name.py` (percent format) is the source, `NN_name.ipynb` the executed form that people look at. With `--update` the
executed form is written anew, and a small picture of its last image for the gallery. A cell tagged `varies` is executed
but not compared. Names given as arguments select.
"""

import base64
import io
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 120
GALLERY = HERE / "gallery"
PICTURE_WIDTH = 360  # pixels
PICTURE_MAX = 25 * 1024  # bytes


def executed(source: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; raises CellExecutionError where a cell fails."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same ids every time, so that a diff shows only changes
    sockets = tempfile.TemporaryDirectory()
    # No ports; and a whole path, since the kernel's folder is another one than ours.
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets.name}/kernel")
    client = NotebookClient(
        notebook, km=manager, timeout=TIMEOUT_S, record_timing=False, resources={"metadata": {"path": str(HERE)}}
    )
    try:
        client.execute()
    finally:
        if manager.has_kernel:  # the client leaves a manager that it was given alone
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        sockets.cleanup()
    notebook.metadata.pop("language_info", None)
    return notebook


def texts(notebook: nbformat.NotebookNode) -> list[tuple[str, list[str]]]:
    """(source, text outputs) of every code cell that is compared; what holds a memory address is left out."""
    seen = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or "varies" in cell.metadata.get("tags", ()):
            continue
        parts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
        seen.append((cell.source, [part for part in parts if " at 0x" not in part]))
    return seen


def draw_small(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the last image of a notebook as a small PNG, with as many colours as fit; else its last small drawing."""
    from PIL import Image  # matplotlib brings it

    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    images = [data["image/png"] for data in shown if "image/png" in data]
    if not images:
        drawings = [svg for data in shown for svg in re.findall("<svg.*?</svg>", data.get("text/html", ""), re.DOTALL)]
        small = [svg for svg in drawings if len(svg.encode()) <= PICTURE_MAX]
        if small:
            path.with_suffix(".svg").write_text(small[-1] + "\n", encoding="utf-8")
        return
    image = Image.open(io.BytesIO(base64.b64decode(images[-1]))).convert("RGB")
    image = image.resize((PICTURE_WIDTH, round(image.height * PICTURE_WIDTH / image.width)), Image.Resampling.LANCZOS)
    path.parent.mkdir(exist_ok=True)
    for colours in (128, 64, 32, 16):
        out = io.BytesIO()
        image.quantize(colours).save(out, format="PNG", optimize=True)
        if out.tell() <= PICTURE_MAX:
            break
    path.write_bytes(out.getvalue())


def check(source: Path, *, update: bool) -> list[str]:
    """What is wrong with a notebook, in words."""
    shown = source.with_suffix(".ipynb")
    fresh = executed(source)
    if update:
        nbformat.write(fresh, shown)
        draw_small(fresh, GALLERY / f"{source.stem}.png")
        return []
    if not shown.exists():
        return [f"{shown.name} is missing"]
    committed = nbformat.read(shown, as_version=4)
    wrong = []
    if [cell.source for cell in committed.cells] != [cell.source for cell in fresh.cells]:
        wrong.append(f"{shown.name} is not made from {source.name}")
    for (cell, now), (_, then) in zip(texts(fresh), texts(committed), strict=False):
        if now != then:
            wrong.append(f"{shown.name}: another output than committed\n{cell}\n-- now:\n{now}\n-- committed:\n{then}")
    return wrong


def main() -> int:
    """0 if every notebook runs and says what it said."""
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    faults = 0
    sources = [path for path in sorted(HERE.glob("[0-9]*.py")) if not names or path.stem in names]
    for source in sources:
        began = time.monotonic()
        wrong = check(source, update="--update" in sys.argv)
        print(f"{'FAILED' if wrong else 'ok':6} {source.stem} in {time.monotonic() - began:.1f} s", flush=True)
        for line in wrong:
            print(line, "\nRun `nox -s notebooks -- --update` if the change is meant.", file=sys.stderr)
        faults += bool(wrong)
    print(f"{len(sources) - faults} passed, {faults} failed")
    return 1 if faults or not sources else 0


if __name__ == "__main__":
    sys.exit(main())

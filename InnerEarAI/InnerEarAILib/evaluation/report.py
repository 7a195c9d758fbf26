"""What an evaluation leaves in its folder: tables (CSV, Markdown) and one HTML page that opens without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.figures import figures, method_figures
from InnerEarAILib.evaluation.method_tables import method_tables
from InnerEarAILib.evaluation.tables import Table, case_rows, summary_rows, tables
from InnerEarAILib.result_files import NOTICE
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:13px;margin:.4em 0}th,td{padding:.25em .8em;text-align:left;"
    "border-bottom:1px solid #ddd}th{border-bottom:2px solid #888}.note{color:#666;font-size:13px}"
    "svg{max-width:100%;height:auto}"
)


def write_report(output: Path, outcomes: Sequence[Outcome]) -> tuple[Path, ...]:
    """Writes cases.csv, summary.csv, tables.md and index.html; each is whole or as it was.

    Args:
        output: made if absent.
        outcomes: one a model.

    Returns:
        The files.

    Raises:
        InputError: if the folder cannot be written to.
    """
    sections = [
        (f"Model {one.model}", _said(one), tables(one.figures), figures(one.figures) | one.pictures) for one in outcomes
    ]
    compared = method_tables(outcomes)
    if compared and (len(outcomes) > 1 or any(one.runs for one in outcomes)):
        side_by_side = method_figures({one.model: one.figures for one in outcomes})
        sections.insert(0, ("Models compared", "", compared, side_by_side))
    texts = {
        "cases.csv": _one_table([case_rows(one.model, one.figures) for one in outcomes]),
        "summary.csv": _one_table([summary_rows(one.model, one.figures) for one in outcomes]),
        "tables.md": "\n".join(_markdown(title, said, made) for title, said, made, _ in sections),
        "index.html": html_page("InnerEarAI: evaluation", sections),
    }
    return tuple(write_text(output / name, text) for name, text in texts.items())


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written to {path.parent} ({error.strerror}).") from error
    return path


def _one_table(texts: Sequence[str]) -> str:
    """Tables of the same columns as one."""
    return texts[0] + "".join(text.partition("\n")[2] for text in texts[1:])


def _said(outcome: Outcome) -> str:
    said = [f"{len(outcome.figures)} scans."]
    if outcome.card is not None:
        said.append(outcome.card.trained_on)
    if outcome.runs:
        runs = ", ".join(run.model for run in outcome.runs)
        said.append(f"Runs joined: {runs}; an ear has the mean of its figures by the runs not trained on it.")
    if outcome.views:
        said.append(f"Rotated views of each ear: {outcome.views}.")
    if outcome.looks:
        said.append(outcome.looks)
    if outcome.taught:
        said.append(f"Left out, since it was trained on them: {outcome.taught}.")
    if outcome.validated:
        said.append(f"No test data, since they chose its weights (in groups named validation): {outcome.validated}.")
    if outcome.remaining:
        said.append(f"Not done yet for want of time: {len(outcome.remaining)}; the same command goes on with them.")
    if outcome.left_out:
        said.append(f"Left out, since there is no locator: {', '.join(outcome.left_out)}.")
    said += [f"Failed: {sentence}" for sentence in outcome.failed]
    refusals = [f"{case.name}: {case.refusal}" for case in outcome.figures if case.refusal]
    if refusals:
        said.append(f"Refused: {' '.join(refusals)}")
    return " ".join(said)


def _markdown(title: str, said: str, made: Sequence[Table]) -> str:
    return "\n".join([f"## {title}\n", f"{said}\n", *(table.markdown() for table in made)])


def html_page(heading: str, sections: Sequence[tuple[str, str, Sequence[Table], Mapping[str, str]]]) -> str:
    """One page that opens without a server.

    Args:
        heading: of the page.
        sections: title, a text, tables, and the HTML of figures by their titles.
    """
    parts = [f"<h1>{escape(heading)}</h1>", f"<p class=note>{escape(NOTICE)}</p>"]
    for title, said, made, drawn in sections:
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(said)}</p>"]
        parts += [_html(table) for table in made]
        parts += [f"<h3>{escape(name)}</h3>{picture}" for name, picture in drawn.items()]
        if not drawn and title.startswith("Model "):
            parts.append("<p class=note>Figures are drawn where matplotlib is installed.</p>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(heading)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _html(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<h3>{escape(table.title)}</h3><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<p class=note>{escape(table.note)}</p>"
    )

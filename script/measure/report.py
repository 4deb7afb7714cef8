"""The results for eyes: a table, and a picture of the ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEADINGS = ("work", "ours", "tgt", "fio", "ours/tgt", "wanted", "ours/fio", "wanted", "")


def amount(rate: float | None, size_bytes: int) -> str:
    """Small transfers as operations a second, large ones as throughput."""
    if rate is None:
        return "-"
    return f"{rate * size_bytes / 1e6:,.0f} MB/s" if size_bytes >= 65536 else f"{rate:,.0f}/s"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def verdict(row: dict[str, Any]) -> bool | None:
    """None: nothing was demanded."""
    demands = [(row["ratio"], row["at_least"]), (row["limit_ratio"], row["limit_at_least"])]
    checked = [value >= wanted for value, wanted in demands if value is not None and wanted]
    return all(checked) if checked else None


def table(rows: list[dict[str, Any]]) -> str:
    """Aligned columns, with Markdown's bars so that it can be pasted into a note."""
    lines = [list(HEADINGS)]
    for row in rows:
        size = row["size_bytes"]
        medians = [amount(row["medians"].get(name), size) for name in ("ours", "tgt", "fio")]
        wanted = [f">= {row[key]}" if row[key] else "" for key in ("at_least", "limit_at_least")]
        met = {True: "met", False: "SHORT", None: ""}[verdict(row)]
        lines.append(
            [row["title"], *medians, ratio(row["ratio"]), wanted[0], ratio(row["limit_ratio"]), wanted[1], met]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def picture(rows: list[dict[str, Any]], where: Path) -> None:
    """Bars of ours/tgt with the demanded ratio as a mark, and of ours/fio where it was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row["ratio"] is not None]
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(10, 0.6 * len(rows) + 1.6))
    for place, row in enumerate(reversed(rows)):
        axes.barh(place, row["ratio"], height=0.6, color="#2a6f97" if verdict(row) is not False else "#bc4b51")
        size = row["size_bytes"]
        words = f"{row['ratio']:.2f}   ({amount(row['medians']['ours'], size)} : {amount(row['medians']['tgt'], size)})"
        axes.text(max(row["ratio"], row["at_least"]) + 0.05, place, words, va="center", fontsize=8)
        if row["at_least"]:
            axes.plot([row["at_least"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.axvline(1, color="grey", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [row["title"] for row in reversed(rows)], fontsize=9)
    axes.set_xlim(0, max(max(row["ratio"], row["at_least"]) for row in rows) * 1.35)
    axes.set_xlabel("our engine / tgt, medians (black mark: wanted at least)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(where, dpi=120)
    pyplot.close(figure)

"""Results as Markdown: one table for each scenario, and the goals."""

from __future__ import annotations

from statistics import median

from scenarios import ONE_HOST

# Scenario, figure, peer to compare with (none: the figure itself), at most.
GOALS: list[tuple[str, str, str | None, float]] = [
    ("keep-alive", "µs/request", "nginx", 0.75),
    ("keep-alive", "µs/request", "haproxy", 0.65),
    ("keep-alive", "µs/request", "traefik", 0.20),
    ("keep-alive", "p99 ms", "haproxy", 1.0),
    ("keep-alive", "peak MiB", None, 12),
    ("hosts-1000", "µs/request", "nginx", 0.60),
    ("hosts-1000", "µs/request", "haproxy", 0.60),
    ("hosts-10000", "µs/request", ONE_HOST, 1.05),
    ("hosts-10000", "peak MiB", None, 40),
    ("hosts-10000", "ready s", None, 0.2),
    ("connection-per-request", "µs/request", "nginx", 0.90),
    ("connection-per-request", "µs/request", "haproxy", 0.90),
    ("large", "CPU s/GiB", "nginx", 0.75),
    ("large", "CPU s/GiB", "haproxy", 0.85),
    ("idle", "KiB/idle connection", None, 2),
    ("change", "served after ms", None, 5),
    ("change", "asked after ms", None, 5),
    ("change", "errors", None, 0),
    ("change", "connections cut", None, 0),
    ("syscalls", "system calls/request", None, 4.1),
    ("instructions", "instructions/request", None, 10_000),
]


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def cell(values: list[float]) -> str:
    """The median, with the spread where there is one."""
    text = number(median(values))
    return f"{text} ({number(min(values))}–{number(max(values))})" if len(values) > 1 and max(values) > min(values) else text


def markdown(result: dict) -> str:
    lines = [f"{result['date']}, {result['machine']}, Linux {result['kernel']}, {result['network']}; `{result['command'].strip()}`.", ""]
    lines += ["; ".join(f"{name}: {version}" for name, version in result["versions"].items()), ""]
    for scenario, by_peer in result["scenarios"].items():
        if not by_peer:
            continue
        figures = list(dict.fromkeys(name for values in by_peer.values() for name in values))
        lines += [f"### {scenario}", "", "| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
        for peer, values in by_peer.items():
            lines.append(f"| {peer} | " + " | ".join(cell(values[name]) if values.get(name) else "–" for name in figures) + " |")
        lines.append("")
    lines += ["### Goals", "", "| scenario | measure | is | goal | |", "|---|---|---|---|---|"]
    for scenario, figure, against, goal in GOALS:
        by_peer = result["scenarios"].get(scenario, {})
        mine = by_peer.get("herder", {}).get(figure)
        other = by_peer.get(against, {}).get(figure) if against else None
        if not mine or (against and not other):
            continue
        value = ratio(mine, other) if other else median(mine)
        name = f"{figure} against {against}" if against else figure
        lines.append(f"| {scenario} | {name} | {number(value)} | {number(goal)} | {'met' if value <= goal else 'missed'} |")
    return "\n".join(lines)


def ratio(mine: list[float], other: list[float]) -> float:
    """The median of the ratios of the same rounds: what slows the machine down slows both."""
    return median(a / b if b else float("inf") for a, b in zip(mine, other))

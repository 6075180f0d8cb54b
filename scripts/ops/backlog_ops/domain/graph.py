"""Cycles in a directed graph, in linear time and without recursion: a backlog may be a chain of thousands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

Graph = Mapping[str, Collection[str]]  # node → the nodes its edges lead to, all of them keys


def components(graph: Graph) -> dict[str, int]:
    """Node → number of its strongly connected component (Tarjan): equal where each can reach the other."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    component: dict[str, int] = {}
    unassigned: list[str] = []
    for root in graph:
        pending = [] if root in index else [(root, iter(graph[root]))]
        while pending:
            node, edges = pending[-1]
            if node not in index:
                index[node] = lowest[node] = len(index)
                unassigned.append(node)
            for target in edges:
                if target not in index:
                    pending.append((target, iter(graph[target])))
                    break
                if target not in component:
                    lowest[node] = min(lowest[node], index[target])
            else:
                pending.pop()
                if pending:
                    parent = pending[-1][0]
                    lowest[parent] = min(lowest[parent], lowest[node])
                if lowest[node] == index[node]:
                    member = None
                    while member != node:
                        member = unassigned.pop()
                        component[member] = index[node]
    return component


def cycles(graph: Graph) -> Iterator[tuple[str, ...]]:
    """One cycle of each component that has any, edges in order, its smallest node first; self-loops aside."""
    component = components(graph)
    walked: set[int] = set()
    for start in sorted(graph):
        group = component[start]
        inside = [target for target in graph[start] if target != start and component[target] == group]
        if group in walked or not inside:
            continue
        walked.add(group)
        path = {start: None}  # a dict keeps the order of the walk
        node = start
        while True:
            node = min(t for t in graph[node] if t != node and component[t] == group)
            if node in path:
                break
            path[node] = None
        walk = list(path)
        cycle = walk[walk.index(node) :]
        first = cycle.index(min(cycle))
        yield (*cycle[first:], *cycle[:first])

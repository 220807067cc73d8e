"""The dashboard shows what the code exports: a metric that is renamed here is missed there."""

import json
import re
from itertools import combinations
from pathlib import Path

import promql_parser as promql
import pytest

from dfd_batch import metrics
from dfd_batch.outcomes import Outcome, Verdict

PATH = Path(__file__).parents[2] / "cluster" / "grafana.json"
DASHBOARD = json.loads(PATH.read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
BY_NAME = {metric.name: metric for metric in metrics.METRICS}
COLUMNS = 24
BUILT_IN = {"__rate_interval": "5m", "__range": "6h"}
# what Ray and Prometheus add to the labels of every series
ADDED = {"job", "instance", "NodeAddress"}
OF_RAY = {"ray_data_operator_queued_blocks": {"dataset", "operator"} | ADDED}


def expressions():
    for panel in GRAPHS:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['id']}-{target['refId']}")


def prefixes():
    return [option["value"] for option in VARIABLES["prefix"]["options"]]


def filled(expression: str, prefix: str) -> str:
    """Return an expression with its variables replaced, as Grafana does it."""
    values = {"prefix": prefix, "job": ".*", **BUILT_IN}
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], expression)


def parts(expression: str):
    """Return selectors and aggregations; raises where Prometheus would refuse the expression."""
    selectors, aggregations = [], []

    def visit(node):
        if isinstance(node, promql.VectorSelector):
            selectors.append(node)
        if isinstance(node, promql.AggregateExpr):
            aggregations.append(node)
        return True

    promql.walk(promql.parse(expression), visit)
    return selectors, aggregations


def test_it_has_what_grafana_wants_of_a_dashboard():
    assert DASHBOARD["title"] and DASHBOARD["schemaVersion"] >= 36
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    assert "id" not in DASHBOARD  # the importing Grafana gives it
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids)) and all(isinstance(i, int) for i in ids)
    for panel in GRAPHS:
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(refs) == len(set(refs))


def test_panels_lie_beside_each_other_within_the_grid():
    for panel in PANELS:
        place = panel["gridPos"]
        assert place.keys() == {"x", "y", "w", "h"}
        assert place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS and place["h"] > 0
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y


def test_the_data_source_is_the_one_that_its_user_chooses():
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for asker in (*GRAPHS, *(t for p in GRAPHS for t in p["targets"]), VARIABLES["job"]):
        assert asker["datasource"] == chosen


def test_variables_that_are_used_exist_and_the_choices_are_told_twice_alike():
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(PANELS))) - BUILT_IN.keys()
    assert used == VARIABLES.keys()
    told = dict(pair.split(" : ") for pair in VARIABLES["prefix"]["query"].split(", "))
    assert told == {o["text"]: o["value"] for o in VARIABLES["prefix"]["options"]}
    assert set(prefixes()) == {"dfd", "ray_dfd"}


@pytest.mark.parametrize("prefix", prefixes())
@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_metrics_labels_and_values_that_there_are(expression, prefix):
    selectors, aggregations = parts(filled(expression, prefix))
    assert selectors
    labels = set()
    for selector in selectors:
        if selector.name in OF_RAY:
            labels |= OF_RAY[selector.name]
            continue
        metric = BY_NAME[selector.name.removeprefix("ray_")]
        known = {metric.label: set(metric.values)} | dict.fromkeys(ADDED)
        labels |= known.keys()
        for matcher in selector.matchers.matchers:
            assert matcher.name in known
            if known[matcher.name] is not None:
                assert set(matcher.value.split("|")) <= known[matcher.name]
    for aggregation in aggregations:
        assert set(aggregation.modifier.labels if aggregation.modifier else ()) <= labels


def test_every_metric_of_a_running_scan_is_shown():
    shown = {
        selector.name
        for param in expressions()
        for selector in parts(filled(param.values[0], "dfd"))[0]
    }
    final = {metrics.FINISHED.name, metrics.COMPLETE.name}  # of metrics.prom alone
    assert shown >= BY_NAME.keys() - final


def test_failures_and_flags_are_those_of_the_code():
    asked = {p["title"]: p["targets"][0]["expr"] for p in GRAPHS}
    (outcomes,) = set(re.findall(r'outcome=~"([^"]+)"', asked["Failed"]))
    assert set(outcomes.split("|")) == {o.value for o in Outcome if o.failed}
    (verdicts,) = set(re.findall(r'verdict=~"([^"]+)"', asked["Flagged"]))
    assert set(verdicts.split("|")) == {Verdict.SUSPICIOUS.value, Verdict.MANIPULATED.value}


def test_an_expression_that_prometheus_refuses_does_not_pass():
    with pytest.raises(ValueError, match="matrix"):
        parts(filled("sum(rate(${prefix}_objects_total))", "dfd"))

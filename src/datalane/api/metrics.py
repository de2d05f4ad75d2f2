"""What the API counts. Labels are routes, permissions and classes, never what a caller sent."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUEST_SECONDS = Histogram(
    "datalane_http_request_duration_seconds",
    "Time from a request's headers to the end of its answer, of a stream until it begins; 499 is a client that left",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.7, 1, 2.5, 5, 10),
)
DENIED = Counter(
    "datalane_access_denied_total",
    "Attempts that were refused, by class of denial and by what they were after: a permission, else a route",
    ["denial", "target"],
)
OPEN_STREAMS = Gauge(
    "datalane_http_open_streams", "Streams of server-sent events that are open now", multiprocess_mode="mostrecent"
)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    REQUEST_SECONDS.labels(_known(method), route, str(status)).observe(seconds)


def count_denial(denial: str, permission: str | None, method: str, route: str) -> None:
    DENIED.labels(denial, permission or f"{_known(method)} {route}").inc()


def _known(method: str) -> str:
    return method if method in _METHODS else "other"

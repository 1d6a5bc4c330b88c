"""The middlewares whose cost is measured: labels, flags, and what a request has to bring along to pass."""

from __future__ import annotations

FRONTEND = "traefik.frontend."
BACKEND = "traefik.backend."

# SHA-1 of "secret", as `htpasswd -s` prints it.
SHA = "bench:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
BASIC = ("Authorization: Basic YmVuY2g6c2VjcmV0",)

ALONE: dict[str, tuple[dict[str, str], list[str], tuple[str, ...]]] = {
    "allow list": ({FRONTEND + "whiteList.sourceRange": "10.0.0.0/8,127.0.0.0/8"}, [], ()),
    "redirect (no match)": ({FRONTEND + "redirect.regex": "^http://old/(.*)", FRONTEND + "redirect.replacement": "http://new/$1"}, [], ()),
    "request headers": ({FRONTEND + "headers.customRequestHeaders": "X-A:1||X-B:2"}, [], ()),
    "response headers": ({FRONTEND + "headers.customResponseHeaders": "X-A:1||X-B:2"}, [], ()),
    "security headers": ({FRONTEND + "headers.frameDeny": "true", FRONTEND + "headers.contentTypeNosniff": "true",
                          FRONTEND + "headers.STSSeconds": "60"}, [], ()),
    "basic auth, SHA-1": ({FRONTEND + "auth.basic": SHA}, [], BASIC),
    "circuit breaker": ({BACKEND + "circuitbreaker.expression": "NetworkErrorRatio() > 0.5"}, [], ()),
    "max connections": ({BACKEND + "maxconn.amount": "100000"}, [], ()),
    "rate limit": ({FRONTEND + "rateLimit.extractorFunc": "client.ip", FRONTEND + "rateLimit.rateSet.a.period": "1s",
                    FRONTEND + "rateLimit.rateSet.a.average": "10000000", FRONTEND + "rateLimit.rateSet.a.burst": "10000000"}, [], ()),
    "strip prefix": ({FRONTEND + "rule": "Host:h0.bench;PathPrefixStrip:/none,/"}, [], ()),
    "sticky cookie": ({BACKEND + "loadbalancer.stickiness": "true"}, [], ()),
}

CHAIN = {key: value for labels, _, _ in ALONE.values() for key, value in labels.items() if key != FRONTEND + "rule"}

STEPS: dict[str, tuple[dict[str, str], list[str], tuple[str, ...]]] = {
    "nothing": ({}, [], ()),
    **ALONE,
    "ten in a chain": (CHAIN, [], BASIC),
    "buffering": ({BACKEND + "buffering.maxResponseBodyBytes": "100000"}, [], ()),
    "access log": ({}, ["--accessLog", "--accessLog.filePath=/dev/null"], ()),
}

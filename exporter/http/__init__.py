"""The client of every API: one request in, one typed answer or one of our errors out.

Deadlines, retries, rate limits, redirects, sizes and clocks are handled here, once for all
providers:

    class Run(msgspec.Struct):
        id: int

    api = Api(root=url, headers=lambda: {"Authorization": f"Bearer {token}"}, timeout=10.0)
    try:
        answer = await api.get("/runs", {"page": 2}, into=list[Run])
        print(answer.body[0].id)
    except ProviderError as error:
        print(error.reason, error)
    finally:
        await api.aclose()

What a failed request becomes:

    answer                          error      reason          tried again here
    403 that names a limit, 429     TryLater   rate_limited    no; nothing is sent meanwhile
    401, 403 that name a policy     Refused    forbidden       no; SAML, IP allow list
    other 401, a web page with 200  Refused    unauthorized    once, if the token has changed
    402, other 403, 451             Refused    forbidden       no
    404, 410                        Gone       not_found       no
    407                             Refused    unauthorized    no
    408, 504                        TryLater   timeout         yes
    425, other 5xx                  TryLater   server          yes
    other 4xx                       Refused    bad_shape       no; our request is wrong
    3xx to a page for signing in    Refused    unauthorized    no
    other 3xx                       Malformed  redirect        no; see `Api.get`
    no whole answer in time         TryLater   timeout         yes
    broken connection, not HTTP     TryLater   connect         yes
    unknown host                    TryLater   dns             yes
    untrusted certificate           Refused    tls             no
    other TLS failure               TryLater   tls             yes
    gzip broken or cut off          TryLater   bad_encoding    yes
    other content encoding          Malformed  bad_encoding    no
    over 32 MiB, 64 MiB unpacked    Malformed  too_large       no
    not JSON, empty                 Malformed  bad_json        no
    JSON of another shape           Malformed  bad_shape       no

A 403 names a limit if it has `Retry-After`, has nothing remaining, or says so. `refusals` decides
by status, header and text; a `Dialect` adds what one API says in a way of its own.
No error text holds a credential, a request header or the query of a URL.
"""

from exporter.http.budget import (
    REQUEST_COUNT,
    Budget,
    PublishedLimit,
    RequestCount,
    RequestRate,
    TokenBucket,
)
from exporter.http.call import Answer, ApiStats
from exporter.http.client import CONCURRENCY, Api
from exporter.http.limits import RateLimit
from exporter.http.refusals import Dialect
from exporter.http.retries import RetryPolicy
from exporter.http.secret import Token

__all__ = [
    "CONCURRENCY",
    "REQUEST_COUNT",
    "Answer",
    "Api",
    "ApiStats",
    "Budget",
    "Dialect",
    "PublishedLimit",
    "RateLimit",
    "RequestCount",
    "RequestRate",
    "RetryPolicy",
    "Token",
    "TokenBucket",
]

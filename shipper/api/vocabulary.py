"""What names there are: of services, for those who may see them."""

from shipper.api.asking import Asking
from shipper.api.problems import Problem
from shipper.api.scope import SERVICE
from shipper.loki.logql import selector
from shipper.loki.query_answers import Listed


async def services(asking: Asking, range_ns: tuple[int, int]) -> list[str]:
    """Return the services that the caller may see and that have lines in the range, in nanoseconds."""
    asked: dict[str, str | int | float] = {
        "start": range_ns[0],
        "end": range_ns[1],
        "query": selector(asking.matchers, anything=SERVICE),
    }
    return sorted((await asking.reader().get(f"/label/{SERVICE}/values", asked, Listed[str])).data)


async def check_services(asking: Asking, range_ns: tuple[int, int], named: list[str]) -> None:
    """Raise a Problem if a service that a call names has no lines in its range: asked when nothing was found."""
    if not named:
        return
    known = await services(asking, range_ns)
    unknown = [name for name in named if name not in known]
    if unknown:
        raise Problem(
            404,
            "unknown-service",
            f"service: no {', '.join(unknown)} has written a line in this range that you may see; "
            f"there is {', '.join(known[:20]) or 'none at all'}",
            parameter="service",
        )

"""`/access`: who one is here, and reading the access file again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from praxis_fast.api.access.principals import principal_of
from praxis_fast.api.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

    from praxis_fast.api.access.access import Access


def access_routes(access: Access) -> list[Route]:
    """Every route with its method."""

    async def tell(request: Request) -> JSONResponse:
        principal = principal_of(request.scope)
        return JSONResponse(
            {
                "name": principal.name,
                "roles": sorted(principal.roles),
                "rights": sorted(access.rights(principal)),
                "expires": principal.expires,
            }
        )

    async def reload(request: Request) -> JSONResponse:
        return JSONResponse({"reloaded": await access.refresh(is_forced=True)})

    return [
        Route("/access", tell, methods=["GET"]),
        Route("/access/reload", reload, methods=["POST"]),
    ]

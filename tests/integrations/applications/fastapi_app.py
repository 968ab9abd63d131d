from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from keyturn import Verification
from keyturn.integrations.fastapi import KeyGuard
from tests.integrations.applications.configured import OPTIONS, ROUTES, URL, said

guard = KeyGuard(URL, **OPTIONS)
app = FastAPI(lifespan=guard.lifespan)


@app.get("/any")
async def any_key(key: Annotated[Verification, Depends(guard.require())]) -> dict[str, Any]:
    return said(key)


@app.get("/read")
def read(key: Annotated[Verification, Depends(guard.require(**ROUTES["/read"]))]) -> dict[str, Any]:
    return said(key)


@app.get("/write")
async def write(key: Annotated[Verification, Depends(guard.require(**ROUTES["/write"]))]) -> dict[str, Any]:
    return said(key)


@app.get("/documents", dependencies=[Depends(guard.require(permissions="documents.read"))])
async def documents() -> dict[str, Any]:
    return {"code": "valid"}


@app.get("/open")
async def anybody() -> str:
    return "open"


@app.post("/revoke/{key_id}")
async def revoke(key_id: str) -> str:
    await run_in_threadpool(lambda: guard.store.revoke_key(key_id))
    return "revoked"

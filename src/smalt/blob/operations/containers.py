"""Operations on containers and on the account itself."""

from __future__ import annotations

from smalt.blob.accounts.accounts import Container
from smalt.blob.errors import BlobError, unsupported
from smalt.blob.names import check_container
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.upload import new_metadata
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.store.objects import LocalFiles
from smalt.blob.xml import XML_HEADER

_SERVICE_PROPERTIES = (
    XML_HEADER + "<StorageServiceProperties>"
    "<Logging><Version>1.0</Version><Delete>false</Delete><Read>false</Read><Write>false</Write>"
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>"
    "<HourMetrics><Version>1.0</Version><Enabled>false</Enabled>"
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>"
    "<MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled>"
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics>"
    "<Cors /><DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>"
    "<StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>"
).encode()


async def create_container(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require_account("cw")
    target = request.target
    check_container(target.container)
    if "x-ms-blob-public-access" in request.headers:
        raise BlobError(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
    metadata = new_metadata(request)
    created = await service.in_thread(service.accounts.create_container, target.account, target.container, metadata)
    if isinstance(service.store, LocalFiles):
        await service.in_thread(service.store.make, target.bucket)
    await answer.send(201, created.headers())


async def delete_container(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require_account("d")
    async with service.locked(request.target):
        await _check(service, request, writes=True)
        await service.delete_container(request.target)
    await answer.send(202, {})


async def get_container_properties(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require_account("r")
    container = await _check(service, request)
    headers = {
        **container.headers(),
        **service.accounts.leases.get(request.target).headers(),
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
        "x-ms-deny-encryption-scope-override": "false",
    }
    await answer.send(200, headers | {f"x-ms-meta-{name}": value for name, value in container.metadata.items()})


async def set_container_metadata(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require_account("w")
    target = request.target
    await _check(service, request)
    metadata = new_metadata(request)
    changed = await service.in_thread(
        service.accounts.set_container_metadata, target.account, target.container, metadata
    )
    await answer.send(200, changed.headers())


async def get_container_acl(service: BlobService, request: Request, answer: Answer) -> None:
    """There are no stored access policies and no public access."""
    request.grant.require_account("r")
    container = await _check(service, request)
    body = (XML_HEADER + "<SignedIdentifiers />").encode()
    await answer.send(200, {**container.headers(), "content-type": "application/xml"}, body)


async def set_container_acl(service: BlobService, request: Request, answer: Answer) -> None:
    """Taking all policies away is what there is already; setting one is refused."""
    request.grant.require_account("w")
    body = await request.body(64 << 10)
    if "x-ms-blob-public-access" in request.headers:
        raise BlobError(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
    if b"<SignedIdentifier>" in body:
        raise unsupported("A stored access policy")
    container = await _check(service, request)
    await answer.send(200, container.headers())


async def get_account_information(service: BlobService, request: Request, answer: Answer) -> None:
    headers = {
        "x-ms-sku-name": "Standard_LRS",
        "x-ms-account-kind": "StorageV2",
        "x-ms-is-hns-enabled": "false",
    }
    await answer.send(200, headers)


async def get_service_properties(service: BlobService, request: Request, answer: Answer) -> None:
    request.grant.require("r")
    await answer.send(200, {"content-type": "application/xml"}, _SERVICE_PROPERTIES)


async def _check(service: BlobService, request: Request, writes: bool = False) -> Container:
    """The container, if the request's conditions allow what it asks for. Only a deletion has to name a lease."""
    target, conditions = request.target, read_conditions(request)
    container = await service.require_container(target)
    conditions.check_times(container.changed_at)
    lease = service.accounts.leases.get(target)
    if writes:
        lease.check_write(conditions.lease, "container")
    elif conditions.lease:
        lease.check_named(conditions.lease, "container")
    return container

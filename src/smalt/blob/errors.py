"""What the Blob protocol answers when it refuses: Azure's status, code and XML, as the clients' classes expect them.

Codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

from smalt.arm.errors import ArmError
from smalt.blob.xml import XML_HEADER, text_element


class BlobError(ArmError):
    """An `ArmError` that leaves as Azure Storage's XML. `detail` goes into `AuthenticationErrorDetail`."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, detail: str = ""
    ) -> None:
        super().__init__(status, code, message, headers=headers)
        self.detail = detail

    def xml(self) -> bytes:
        detail = text_element("AuthenticationErrorDetail", self.detail) if self.detail else ""
        inner = text_element("Code", self.code) + text_element("Message", self.message) + detail
        return f"{XML_HEADER}<Error>{inner}</Error>".encode("utf-8", "replace")


def blob_not_found() -> BlobError:
    return BlobError(404, "BlobNotFound", "The specified blob does not exist.")


def container_not_found() -> BlobError:
    return BlobError(404, "ContainerNotFound", "The specified container does not exist.")


def container_exists() -> BlobError:
    return BlobError(409, "ContainerAlreadyExists", "The specified container already exists.")


def blob_exists() -> BlobError:
    return BlobError(409, "BlobAlreadyExists", "The specified blob already exists.")


def condition_not_met() -> BlobError:
    return BlobError(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")


def not_modified(headers: dict[str, str]) -> BlobError:
    return BlobError(304, "ConditionNotMet", "The blob was not modified.", headers=headers)


def invalid_name(message: str) -> BlobError:
    return BlobError(400, "InvalidResourceName", message)


def invalid_header(name: str, why: str) -> BlobError:
    message = f"The value for one of the HTTP headers is not in the correct format: {name}: {why}"
    return BlobError(400, "InvalidHeaderValue", message)


def missing_header(name: str) -> BlobError:
    return BlobError(400, "MissingRequiredHeader", f"A required HTTP header was not specified: {name}.")


def invalid_query(name: str, why: str) -> BlobError:
    message = f"Value for one of the query parameters specified in the request URI is invalid: {name}: {why}"
    return BlobError(400, "InvalidQueryParameterValue", message)


def invalid_xml(why: str) -> BlobError:
    return BlobError(400, "InvalidXmlDocument", f"XML specified is not syntactically valid: {why}")


def invalid_range(size: int) -> BlobError:
    message = "The range specified is invalid for the current size of the resource."
    return BlobError(416, "InvalidRange", message, headers={"content-range": f"bytes */{size}"})


def wrong_blob_type() -> BlobError:
    return BlobError(409, "InvalidBlobType", "The blob type is invalid for this operation.")


def md5_mismatch() -> BlobError:
    message = "The MD5 value specified in the request did not match with the MD5 value calculated by the server."
    return BlobError(400, "Md5Mismatch", message)


def invalid_block_list(block: str = "") -> BlobError:
    what = f" Block '{block}' was not uploaded." if block else ""
    return BlobError(400, "InvalidBlockList", f"The specified block list is invalid.{what}")


def unsupported(feature: str) -> BlobError:
    return BlobError(400, "FeatureNotSupported", f"{feature} is not supported by this storage account.")


def length_required() -> BlobError:
    return BlobError(411, "MissingContentLengthHeader", "The Content-Length header was not specified.")


def too_large(limit_bytes: int) -> BlobError:
    message = f"The request body is too large and exceeds the maximum permissible limit of {limit_bytes} bytes."
    return BlobError(413, "RequestBodyTooLarge", message)


def incomplete_body() -> BlobError:
    return BlobError(400, "IncompleteBody", "The connection ended before the request's body did.")


def from_arm(error: ArmError) -> BlobError:
    """What other parts of the platform refuse, in this protocol's form."""
    return BlobError(error.status, error.code, error.message, error.headers)


def internal_error() -> BlobError:
    return BlobError(500, "InternalError", "The server encountered an internal error. Please retry the request.")


def authentication_failed(detail: str) -> BlobError:
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature."
    )
    return BlobError(403, "AuthenticationFailed", message, detail=detail)


def permission_mismatch(need: str) -> BlobError:
    message = f"This request is not authorized to perform this operation using this permission. It needs '{need}'."
    return BlobError(403, "AuthorizationPermissionMismatch", message)


def not_authorized(code: str, what: str) -> BlobError:
    message = f"This request is not authorized to perform this operation using this {what}."
    return BlobError(403, code, message)
